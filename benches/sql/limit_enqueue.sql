with job as (
    insert into queue_limit.new_jobs (id, kind, queue, priority, attempts_max, crashes_max, args)
    select nextval('queue.job_seq'), 'noop', 'default', 0, 10, 3, 'ARGS'
    from generate_series(1, BATCH)
    returning id
)
insert into queue_limit.new_ready (job_id, seq, priority, queue, kind)
select id, id, 0, 'default', 'noop' from job;
