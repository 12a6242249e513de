-- claimed → finished (done). Fenced by process and attempt: a row that is gone, or belongs to
-- another attempt, is left alone, and its id is missing from the answer.
with closed as (
    delete from queue.claimed
    using unnest($2::bigint[], $3::integer[], $4::bigint[]) as run (job_id, attempt, ran_us)
    where claimed.job_id = run.job_id
        and claimed.attempt = run.attempt
        and claimed.process_id = $1
    returning claimed.job_id, claimed.attempt, run.ran_us, claimed.keys, claimed.slots
), finished as (
    insert into queue.finished (job_id, started_at, attempt, outcome)
    select job_id, clock_timestamp() - ran_us * interval '1 microsecond', attempt, 'done'
    from closed
), vacated as (
    delete from queue.slots
    using closed
    cross join lateral unnest(closed.keys, closed.slots) as held (key, number)
    where slots.key = held.key
        and slots.number = held.number
        and slots.job_id = closed.job_id
), freed as (
    delete from queue.unique_keys
    where job_id = any ($5::bigint[])
        and job_id = any (array(select job_id from closed))
        and held_in & 32 = 0
)
select job_id
from closed
