-- Lists up to $3 failed jobs of a batch ($1), in order, after the job $2.
select jobs.id
from queue.jobs
where batch_id = $1
    and jobs.id > $2
    and (select job_id from queue.failed where failed.job_id = jobs.id) is not null
order by jobs.id
limit $3
