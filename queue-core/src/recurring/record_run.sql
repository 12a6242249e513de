-- Records a job that was enqueued by hand, without a due time.
insert into queue.firings (recurring_job, outcome, job_id)
values ($1, 'enqueued', $2)
