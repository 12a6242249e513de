-- Removes the rows of a process that ends.
with awake as (
    delete from queue.idle_processes where process_id = $1
), stopped as (
    delete from queue.pollers where process_id = $1
)
delete from queue.processes where id = $1
