-- Adds the row of a process. Repeated when the first answer was lost.
insert into queue.processes (id, pid, name, host, version, details)
values ($1, $2, $3, $4, $5, $6)
on conflict (id) do nothing
