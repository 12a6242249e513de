-- Finds the jobs that start now that batches ($1) have ended, with success or not ($2), and those that are
-- no longer needed.
select dependencies.job_id, rule = 'completion' or (rule = 'success') = ended.is_clean as starts
from unnest($1::bigint[], $2::boolean[]) as ended (id, is_clean)
cross join lateral (
    select job_id, rule from queue.dependencies where on_id = ended.id offset 0
) as dependencies
where ended.is_clean or dependencies.rule <> 'success'
order by dependencies.job_id
