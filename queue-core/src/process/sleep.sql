-- A process says that it has an idle worker, which polls some queues no more: from now on,
-- enqueueing notifies.
with stopped as (
    delete from queue.pollers
    where process_id = $1
        and queue = any ($2)
)
insert into queue.idle_processes (process_id)
values ($1)
on conflict do nothing
