-- Lists up to $3 batches, newest first, with smaller ids than $2; only the one with the id $1, if it is given.
-- Of those that have ended ($4) or not, if that is given.
select batches.id, parent_id, name, metadata, created_at, closed_at, cancelled_at, completed_at, failed_at,
    succeeded_at, batches.added + change.added as jobs, batches.done + change.done as done,
    batches.discarded + change.discarded as discarded, batches.failed + change.failed as failed,
    batches.cancelled + change.cancelled as cancelled
from queue.batches
cross join lateral (
    select coalesce(sum(added), 0)::bigint as added, coalesce(sum(done), 0)::bigint as done,
        coalesce(sum(discarded), 0)::bigint as discarded, coalesce(sum(failed), 0)::bigint as failed,
        coalesce(sum(cancelled), 0)::bigint as cancelled
    from queue.deltas
    where deltas.target = batches.id
) as change
where ($1::bigint is null or batches.id = $1)
    and ($2::bigint is null or batches.id < $2)
    and ($4::boolean is null or (completed_at is not null) = $4)
order by batches.id desc
limit $3
