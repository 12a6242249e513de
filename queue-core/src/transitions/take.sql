-- ready -> claimed, for the rows in `picked`, by process $7. Continued by claimed_jobs.sql.
), taken as (
    delete from queue.ready
    where ctid = any (array(select place from picked))
    returning job_id, seq, ready_at, attempt + 1 as attempt, priority, failures, crashes, frees_key,
        queue, kind, track
), claimed as (
    insert into queue.claimed (job_id, seq, process_id, attempt, failures, crashes)
    select job_id, seq, $7, attempt, failures, crashes
    from taken
), freed as (
    delete from queue.unique_keys
    where job_id = any (array(select job_id from taken where frees_key))
        and held_in & queue.state_claimed() = 0
), decided as (
    select job_id, seq, ready_at, attempt, priority, failures, crashes, queue, kind,
        track, 'claimed' as decision, null::text[] as keys
    from taken
)
