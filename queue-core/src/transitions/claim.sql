-- ready -> claimed, up to $6 jobs from a list of lanes, in the order of the lanes.
--
-- A lane is one priority of one queue between two places in line. The lower bound is the floor, up to
-- which the caller has claimed every job it saw. Without it, each claim would read the dead index
-- entries of all jobs claimed since the last vacuum. The index is searched by equality on (queue,
-- priority) and a range on seq, and the rows are addressed by ctid, so that the plan does not depend on
-- statistics.
--
-- Jobs with limits have lanes of their own (tracks 1 and 2). Those and all jobs of a limited queue or
-- kind are claimed by claim_limited.sql.
--
-- A process that has been declared dead claims nothing, even if it does not know it yet.
--
-- Locks rows of ready with skip locked: two claims never wait for each other. Continued by
-- claimed_jobs.sql.
with picked as (
    select front.place
    from unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[])
        as lane (queue, priority, above, up_to)
    cross join lateral (
        select ready.ctid as place
        from queue.ready
        where ready.queue = lane.queue
            and ready.priority = lane.priority
            and ready.track = 0
            and ready.seq > lane.above
            and ready.seq <= lane.up_to
            and ready.kind = any ($5)
            and ready.kind <> all (array(
                select substr(name, 7) from queue.limits where name > '@kind/' and name < '@kind0'
            ))
        order by ready.seq
        limit $6
        for update skip locked
    ) as front
    where lane.queue <> all (array(select name from queue.queues where paused_at is not null))
        and lane.queue <> all (array(
            select substr(name, 8) from queue.limits where name > '@queue/' and name < '@queue0'
        ))
        and exists (select from queue.processes where id = $7)
    limit $6
), taken as (
    delete from queue.ready
    where ctid = any (array(select place from picked))
    returning job_id, seq, ready_at, attempt + 1 as attempt, priority, failures, crashes, frees_key,
        queue, kind
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
        0::smallint as track, 'claimed' as decision, null::text[] as keys
    from taken
)
