-- claimed, asked to stop: its process is told at once, and reads the request at its next
-- heartbeat should the notification be lost.
with asked as (
    update queue.claimed
    set cancel_requested_at = clock_timestamp()
    where job_id = any ($1)
        and cancel_requested_at is null
    returning job_id
)
select job_id, (select pg_notify('queue.cancel', job_id::text))
from asked
