-- Continues statements that end runs, if a job has a batch. Continued by count.sql.
), ends as (
    select job_id, became, 1 as by
    from ended
