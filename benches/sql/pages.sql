-- Fills the tables as jobs would have: 1,000,000 finished jobs, 100,000 failed ones, 500,000 ready ones, 10,000
-- that each hold a key, 10,000 that wait for one, and 50,000 scheduled ones, of 50 kinds in 1,000 queues.
-- 100,000 of the ready ones are of 10,000 tenants, in a fair queue. With 1,000 recurring jobs, 5 processes,
-- and what has been counted and sampled meanwhile.
insert into queue.queues (name, is_fair)
select 'queue-' || n, n = 1
from generate_series(1, 1000) as n;

insert into queue.processes (id, pid, name, host, version, details)
select ('00000000-0000-4000-8000-00000000000' || n)::uuid, n, 'worker-' || n, 'host-' || n, '1.0.0',
    '{"queues": ["*"], "kinds": ["kind-1", "kind-2"], "concurrency": 2000}'
from generate_series(1, 5) as n;

insert into queue.batches (id, created_at, closed_at, completed_at, succeeded_at, added, done, name)
select n, now() - interval '1 day', now(), case when n % 10 > 0 then now() end,
    case when n % 10 > 0 then now() end, 1000, 1000, 'import'
from generate_series(2000001, 2000100) as n;

insert into queue.jobs
    (id, created_at, priority, attempts_max, crashes_max, kind, queue, args, tenant, limits, batch_id)
select n, now() - (1700000 - n) * interval '50 ms', 0, 25, 5, 'kind-' || n % 50,
    case when n between 1100001 and 1200000 then 'queue-1' else 'queue-' || n % 1000 + 1 end,
    jsonb_build_object('id', n, 'text', repeat('x', 76)),
    case when n between 1100001 and 1200000 then 'tenant-' || n % 10000 end,
    case when n between 1600001 and 1620000 then
        jsonb_build_array(jsonb_build_object('key', 'account/' || n % 10000, 'name', 'account', 'slots', 1))
    end,
    case when n <= 100000 then 2000001 + n % 100 end
from generate_series(1, 1670000) as n;

insert into queue.finished (job_id, started_at, finished_at, attempt, outcome)
select id, created_at + interval '1 second', created_at + interval '2 seconds', 1, 'done'
from queue.jobs
where id <= 1000000;

insert into queue.failed (job_id, failed_at, attempt, failures, crashes, queue, kind)
select id, created_at + interval '2 seconds', 1, 1, 0, queue, kind
from queue.jobs
where id between 1000001 and 1100000;

insert into queue.attempts (job_id, attempt, started_at, ended_at, process, ending, error, backtrace)
select job_id, 1, failed_at - interval '1 second', failed_at, 'worker-1', 'error',
    'charge ' || job_id || ' was ' || (array['declined', 'late', 'lost', 'refused'])[job_id % 4 + 1],
    '   0: shop::charge' || chr(10) || '             at src/charge.rs:10:5'
from queue.failed;

insert into queue.ready (job_id, seq, ready_at, priority, queue, kind, track, tenant)
select id, id, created_at, priority, queue, kind, queue.ready_track(false, tenant), tenant
from queue.jobs
where id between 1100001 and 1600000;

insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes, slots, keys)
select id, id, ('00000000-0000-4000-8000-00000000000' || id % 5 + 1)::uuid, 1, 0, 0, '{1}',
    array[limits -> 0 ->> 'key']
from queue.jobs
where id between 1600001 and 1610000;

insert into queue.slots (job_id, number, key)
select job_id, 1, keys[1]
from queue.claimed;

insert into queue.blocked
    (job_id, seq, attempt, priority, failures, crashes, frees_key, replaces, key, queue, kind)
select id, id, 0, priority, 0, 0, false, false, limits -> 0 ->> 'key', queue, kind
from queue.jobs
where id between 1610001 and 1620000;

insert into queue.scheduled (job_id, due_at, priority, queue, kind)
select id, now() + (id - 1620000) * interval '1 second', priority, queue, kind
from queue.jobs
where id > 1620000;

insert into queue.tenants (name, weight)
select 'tenant-' || n, 2
from generate_series(1, 100) as n;

insert into queue.limits (name, slots, declared)
select 'account/' || n, 2, false
from generate_series(1, 100) as n;

insert into queue.recurring_jobs
    (name, schedule, zone, missed, overlap, kind, queue, tags, args, next_at, jitter_ms, missed_max, priority,
    attempts_max, crashes_max)
select 'schedule-' || n, 'every day at 2am', 'UTC', 'once', 'skip', 'kind-1', 'queue-1', '{}', '{}',
    now() + interval '1 hour', 0, 1, 0, 25, 5
from generate_series(1, 1000) as n;

insert into queue.firings (due_at, fired_at, job_id, recurring_job, outcome)
select now() - day * interval '1 day', now() - day * interval '1 day', day, 'schedule-' || n, 'enqueued'
from generate_series(1, 1000) as n
cross join generate_series(1, 100) as day;

insert into queue.depths (at, ready, scheduled, blocked, running, failed, oldest_ms, span, is_least, queue)
select date_bin(width, now(), 'epoch'::timestamptz) - n * width, 500, 50, 10, 10, 100, 1000, span, false, name
from (values (1::smallint, interval '1 minute', 60), (60, interval '1 hour', 168)) as rule (span, width, spans)
cross join lateral generate_series(0, spans) as n
cross join (
    select name from queue.queues
    union all
    select '*'
) as named;

-- The counts of a minute have a row for all, and those of each process not added up yet.
insert into queue.counts
    (at, done, discarded, cancelled, failed, retried, waited_ms, ran_ms, span, queue, kind)
select date_bin('1 minute', now(), 'epoch'::timestamptz) - n * interval '1 minute', 1000, 0, 0, 10, 10, 1000,
    1000, 1, '*', '*'
from generate_series(2, 1440) as n
union all
select date_bin('1 minute', now(), 'epoch'::timestamptz) - n * interval '1 minute', 1, 0, 0, 0, 0, 1, 1,
    case when n < 2 then 0 else 1 end, 'queue-' || queue, 'kind-1'
from generate_series(0, 60) as n
cross join generate_series(1, 1000) as queue
cross join generate_series(1, case when n < 2 then 30 else 1 end) as appended;

insert into queue.operations
    (ended_at, counted, changed, counted_at_least, action, who, role, filter)
select now(), 10, 10, false, 'retry', 'mira', 'admin', '{"states": ["failed"]}'
from generate_series(1, 100) as n;

insert into queue.audit (who, role, what, target)
select 'mira', 'admin', 'retry', 'jobs/' || n
from generate_series(1, 100000) as n;

select setval('queue.job_seq', 3000000);
