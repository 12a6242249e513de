-- Returns the attempts of a job that ended in an error, first to last.
select attempt, started_at, ended_at, process, version, ending, error, backtrace
from queue.attempts
where job_id = $1
order by attempt
