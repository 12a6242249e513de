-- Resumes a recurring job. The due times since the pause are missed ones.
update queue.recurring_jobs
set paused_at = null
where name = $1
    and paused_at is not null
