-- Continues the statements that clear jobs: removes what else is kept about the jobs in `old`.
), cleared_attempts as (
    delete from queue.attempts where job_id = any (array(select job_id from old))
), freed_keys as (
    delete from queue.unique_keys where job_id = any (array(select job_id from old))
), cleared_bypasses as (
    delete from queue.bypasses where job_id = any (array(select job_id from old))
), cleared_steps as (
    delete from queue.steps where job_id = any (array(select job_id from old))
), cleared_progress as (
    delete from queue.progress where job_id = any (array(select job_id from old))
), cleared_waits as (
    delete from queue.waits where job_id = any (array(select job_id from old))
), cleared_dependencies as (
    delete from queue.dependencies where job_id = any (array(select job_id from old))
), cleared_jobs as (
    delete from queue.jobs where id = any (array(select job_id from old))
)
select *
from answer
