-- claimed → finished (done). Fenced by process and attempt: a row that is gone, or belongs to
-- another attempt, is left alone, and its id is missing from the answer.
with closed as (
    delete from queue.claimed
    where job_id = any ($2)
        and process_id = $1
        and ((job_id, attempt) in (select * from unnest($2::bigint[], $3::integer[]))) is true
    returning job_id, attempt, keys, slots
), finished as (
    insert into queue.finished (job_id, started_at, attempt, outcome)
    select job_id, clock_timestamp() - ran_us * interval '1 microsecond', attempt, 'done'
    from unnest($2, $3, $4::bigint[]) as run (job_id, attempt, ran_us)
    where ((job_id, attempt) in (select job_id, attempt from closed)) is true
), vacated as (
    delete from queue.slots
    where ctid = any (array(
        select slot.place
        from closed
        cross join lateral unnest(closed.keys, closed.slots) as held (key, number)
        cross join lateral (
            select ctid as place
            from queue.slots
            where slots.key = held.key
                and slots.number = held.number
                and slots.job_id = closed.job_id
            limit 1
        ) as slot
    ))
), freed as (
    delete from queue.unique_keys
    where job_id = any ($5::bigint[])
        and job_id = any (array(select job_id from closed))
        and held_in & 32 = 0
)
select job_id
from closed
