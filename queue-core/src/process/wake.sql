-- Removes a process whose workers are all busy from the idle ones.
delete from queue.idle_processes where process_id = $1
