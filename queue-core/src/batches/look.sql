-- Finds what has ended, of the batches $1 and of the jobs that wait for the jobs $2: no job is missing, or
-- so many rows were added ($3) that they should be replaced by their sum.
with target as (
    select id from unnest($1::bigint[]) as given (id)
    union
    select dependencies.job_id
    from unnest($2::bigint[]) as given (id)
    cross join lateral (
        select job_id from queue.dependencies where on_id = given.id offset 0
    ) as dependencies
    where exists (select from queue.dependencies where on_id > 0)
)
select target.id
from target
cross join lateral (
    select sum(added - done - discarded - failed - cancelled) as missing, count(*) as changes
    from queue.deltas
    where deltas.target = target.id
) as total
left join lateral (
    select added - done - discarded - failed - cancelled as missing
    from queue.batches
    where batches.id = target.id
    limit 1
) as kept on true
where total.missing + coalesce(kept.missing, 0) <= 0
    or total.changes > $3
