-- Records that a process stops polling queues while jobs may be waiting in them, and wakes the idle
-- processes: one of them polls next. The `!` before the name says that open transactions may have added
-- jobs without a notification.
with stopped as (
    delete from queue.pollers
    where process_id = $1
        and queue = any ($2)
    returning queue
)
select pg_notify('queue.wake', '!' || queue) from stopped
