-- Records that a process has an idle worker, which no longer polls some queues: from now on, enqueueing
-- notifies.
with stopped as (
    delete from queue.pollers
    where process_id = $1
        and queue = any ($2)
)
insert into queue.idle_processes (process_id)
values ($1)
on conflict do nothing
