-- Settles locked batches ($1): adds up what has changed, and keeps the sums in the batches. A closed batch
-- that misses no job has ended, with success if no job failed or was cancelled. Returns the batches whose
-- end is new, and how it counts for their parents.
--
-- Runs after lock.sql as a statement of its own: it sees the jobs that were added while the lock was
-- waited for.
with gone as (
    delete from queue.deltas
    where target = any ($1)
    returning *
), change as (
    select target, sum(added) as added, sum(done) as done, sum(discarded) as discarded,
        sum(failed) as failed, sum(cancelled) as cancelled
    from gone
    group by target
), total as (
    select batches.id, batches.parent_id, batches.completed_at is null as is_first,
        batches.succeeded_at is null as is_open, batches.failed_at is null as has_not_failed,
        batches.closed_at is not null
            and batches.added + coalesce(change.added, 0) <= batches.done + batches.discarded
                + batches.failed + batches.cancelled + coalesce(change.done + change.discarded
                + change.failed + change.cancelled, 0) as has_ended,
        batches.cancelled_at is null
            and batches.failed + batches.cancelled + coalesce(change.failed + change.cancelled, 0) <= 0
            as is_clean
    from queue.batches
    left join change on change.target = batches.id
    where batches.id = any ($1)
), settled as (
    update queue.batches
    set added = batches.added + coalesce(change.added, 0),
        done = batches.done + coalesce(change.done, 0),
        discarded = batches.discarded + coalesce(change.discarded, 0),
        failed = batches.failed + coalesce(change.failed, 0),
        cancelled = batches.cancelled + coalesce(change.cancelled, 0),
        completed_at = case when has_ended
            then coalesce(completed_at, statement_timestamp()) else completed_at end,
        failed_at = case when has_ended and not is_clean
            then coalesce(failed_at, statement_timestamp()) else failed_at end,
        succeeded_at = case when has_ended and is_clean
            then coalesce(succeeded_at, statement_timestamp()) else succeeded_at end
    from total
    left join change on change.target = total.id
    where batches.id = total.id
        and batches.id = any ($1)
), counted as (
    insert into queue.deltas (target, done, failed)
    select parent_id, is_clean::integer, case when not is_clean then 1 when not is_first then -1 else 0 end
    from total
    where parent_id is not null
        and has_ended
        and (is_first or is_clean and is_open)
)
select id, parent_id, is_clean
from total
where has_ended
    and (is_first or is_clean and is_open)
order by id
