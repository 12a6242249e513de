-- Returns those of the unique keys $1 that are taken.
select asked.key
from unnest($1::bytea[]) as asked (key)
where exists (select from queue.unique_keys where unique_keys.key = asked.key)
