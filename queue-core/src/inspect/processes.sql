-- Returns every process that has a row: live ones, and dead ones whose rows were not removed yet.
select id, name, host, pid, version, details, started_at, heartbeat_at, stopping_at,
    asked, asked_by, asked_at,
    greatest(extract(epoch from clock_timestamp() - heartbeat_at), 0)::float8 as silent_seconds,
    coalesce(running, 0) as running,
    exists (select from queue.idle_processes where idle_processes.process_id = processes.id) as idle
from queue.processes
left join (
    select process_id, count(*) as running
    from queue.claimed
    group by process_id
) as held on held.process_id = processes.id
order by started_at, id
