-- A process says that all its workers are busy.
delete from queue.sleepers where process_id = $1
