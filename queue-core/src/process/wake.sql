-- A process says that all its workers are busy.
delete from queue.idle_processes where process_id = $1
