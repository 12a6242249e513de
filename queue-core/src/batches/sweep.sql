-- Finds all targets that are to be settled: those whose jobs have all ended, or with more than $1 rows. The
-- process that ended the last job has died, or an operator has cancelled it.
--
-- Closes batches that were left open for more than $2 ms and miss no job: the program that was to add to
-- them has died. Finds cancelled batches whose jobs have not all ended: they are to be cancelled again.
with change as materialized (
    select target, sum(added - done - discarded - failed - cancelled) as missing, count(*) as changes
    from queue.deltas
    group by target
), incomplete as materialized (
    select id, created_at, closed_at, cancelled_at,
        batches.added - batches.done - batches.discarded - batches.failed - batches.cancelled
            + coalesce((select missing from change where target = batches.id), 0) as missing
    from queue.batches
    where completed_at is null
), abandoned as (
    update queue.batches
    set closed_at = statement_timestamp()
    where id = any (array(
        select id
        from incomplete
        where closed_at is null
            and missing <= 0
            and created_at < statement_timestamp() - $2 * interval '1 millisecond'
    ))
    returning id
)
select target as id, 'over' as finding
from change
where changes > $1
    or missing <= 0 and (target in (select id from incomplete)) is not true
union
select id, 'over'
from incomplete
where closed_at is not null and missing <= 0
union
select id, 'cancelled'
from incomplete
where cancelled_at is not null and missing > 0
union
select id, 'abandoned'
from abandoned
