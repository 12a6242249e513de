-- Closes a batch that has not ended, and marks it as cancelled: it takes no more jobs. Returns the batches
-- within it that have not ended either.
with marked as (
    update queue.batches
    set closed_at = coalesce(closed_at, statement_timestamp()),
        cancelled_at = coalesce(cancelled_at, statement_timestamp())
    where id = $1
        and completed_at is null
    returning id
)
select within.id
from marked
cross join lateral (
    select id
    from queue.batches
    where parent_id = marked.id
        and completed_at is null
    offset 0
) as within
