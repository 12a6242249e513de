-- Counts what needs attention: paused queues and tenants, and processes that have been silent for $1 ms.
select
    (select count(*) from queue.queues where paused_at is not null) as paused_queues,
    (select count(*) from queue.tenants where paused_at is not null) as paused_tenants,
    (
        select count(*)
        from queue.processes
        where heartbeat_at < clock_timestamp() - $1 * interval '1 millisecond'
    ) as silent_processes,
    clock_timestamp() as now
