-- claimed -> finished (done). Fenced by process and attempt: a run whose claim is gone or belongs to
-- another attempt changes nothing, and is not in the answer. Continued by free.sql.
with ended as (
    delete from queue.claimed
    where job_id = any ($2)
        and process_id = $1
        and ((job_id, attempt) in (select * from unnest($2::bigint[], $3::integer[]))) is true
    returning job_id, attempt, keys, slots, 'done' as became,
        job_id = any ($5::bigint[]) as has_key
), finished as (
    insert into queue.finished (job_id, started_at, finished_at, attempt, outcome)
    select job_id, statement_timestamp() - ran_us * interval '1 microsecond',
        statement_timestamp(), attempt, 'done'
    from unnest($2, $3, $4::bigint[]) as run (job_id, attempt, ran_us)
    where ((job_id, attempt) in (select job_id, attempt from ended)) is true
), answer as (
    select job_id
    from ended
