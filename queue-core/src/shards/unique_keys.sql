-- Returns those of the unique keys $1 that are taken.
select key
from queue.unique_keys
where key = any ($1::bytea[])
