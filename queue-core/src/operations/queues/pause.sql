-- A queue is paused, whether or not it has been seen before. One that is paused already keeps
-- its time.
insert into queue.queues (name, paused_at)
values ($1, clock_timestamp())
on conflict (name) do update
set paused_at = clock_timestamp()
where queues.paused_at is null
