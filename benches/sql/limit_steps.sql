insert into queue_limit.steps (job_id, finished_at, occurrence, name, result)
select run.job_id, statement_timestamp(), nextval('queue_limit.step_seq') / BATCH + 1, 'step', RESULT
from generate_series(1, BATCH) as step (number)
cross join lateral (
    select job_id
    from queue_limit.claimed
    where claimed.job_id = step.number * 4 + :client_id
    limit 1
    for key share
) as run;
