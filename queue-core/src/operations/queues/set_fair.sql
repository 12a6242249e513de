-- Makes a queue fair or not ($2), whether or not it has been seen before. Jobs that are ready keep their track.
insert into queue.queues (name, is_fair)
values ($1, $2)
on conflict (name) do update
set is_fair = excluded.is_fair
where queues.is_fair <> excluded.is_fair
