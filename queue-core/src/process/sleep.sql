-- A process says that it has an idle worker: from now on, enqueueing notifies.
insert into queue.sleepers (process_id)
values ($1)
on conflict do nothing
