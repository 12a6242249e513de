-- Lists up to $3 jobs of a batch ($1) that have not ended, in order, after the job $2.
select jobs.id
from queue.jobs
where batch_id = $1
    and jobs.id > $2
    and (select job_id from queue.finished where finished.job_id = jobs.id) is null
    and (select job_id from queue.failed where failed.job_id = jobs.id) is null
order by jobs.id
limit $3
