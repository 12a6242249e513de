-- Returns up to $1 batches that have ended within an hour with jobs that failed or were cancelled.
select id, name
from queue.batches
where completed_at > statement_timestamp() - interval '1 hour'
    and failed_at is not null
order by completed_at desc
limit $1
