-- claimed -> claimed, with a request to cancel. The process is notified at once, and reads the request
-- at its next heartbeat if the notification is lost.
with asked as (
    update queue.claimed
    set cancel_requested_at = statement_timestamp()
    where job_id = any ($1)
        and cancel_requested_at is null
    returning job_id
)
select job_id, pg_notify('queue.cancel', job_id::text)
from asked
