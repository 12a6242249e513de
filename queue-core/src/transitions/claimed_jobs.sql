-- The end of every claim: the jobs in `decided`, and for those that were claimed or have ended the columns
-- of `jobs` that a worker needs. The rows are read by name, in claim.rs. Arrays are null instead of empty.
select decided.*, statement_timestamp() as claimed_at, attempts_max, crashes_max, created_at, has_key,
    tags, args, tenant, context, batch_id
from decided
left join lateral (
    select attempts_max, crashes_max, created_at, unique_key is not null as has_key, tags, args,
        tenant, context, batch_id
    from queue.jobs
    where jobs.id = decided.job_id
        and decided.decision in ('claimed', 'partial', 'discarded', 'cancelled', 'replaced')
    limit 1
) as job on true
