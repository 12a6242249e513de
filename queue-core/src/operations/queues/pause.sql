-- Pauses a queue, whether or not it has been seen before. A queue that is paused already keeps its
-- time.
insert into queue.queues (name, paused_at)
values ($1, statement_timestamp())
on conflict (name) do update
set paused_at = excluded.paused_at
where queues.paused_at is null
