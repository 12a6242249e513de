-- Writes an event, unless one of its name exists: the first one stays. Jobs that wait for it are woken after
-- the commit, by a process that finds it open.
insert into queue.events (emitted_at, is_open, name, payload)
values (statement_timestamp(), true, $1, $2::json)
on conflict do nothing
