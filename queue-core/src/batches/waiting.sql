-- Finds the jobs among targets ($1) that wait for nothing any more, locks them in order, and returns whether
-- they are to be cancelled because a job failed.
select blocked.job_id, total.failed > 0 as is_cancelled
from queue.blocked
cross join lateral (
    select sum(added) - sum(done) - sum(failed) as missing, sum(failed) as failed
    from queue.deltas
    where deltas.target = blocked.job_id
) as total
where blocked.job_id = any ($1)
    and blocked.key = '@after'
    and total.missing <= 0
order by blocked.job_id
for update of blocked skip locked
