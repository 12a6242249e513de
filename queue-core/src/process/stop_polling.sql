-- A process stops polling queues while jobs may be waiting in them: the processes that sleep are
-- woken, and one of them polls next. Transactions that are open may have added jobs without a
-- notification; the `!` before the name says so.
with stopped as (
    delete from queue.pollers
    where process_id = $1
        and queue = any ($2)
    returning queue
)
select pg_notify('queue.wake', '!' || queue) from stopped
