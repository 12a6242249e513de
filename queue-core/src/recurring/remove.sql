-- Removes a schedule, and tells who declared it; null when it was added at run time. Its firings
-- stay, so that one of the same name that is added later enqueues nothing twice.
delete from queue.schedules
where name = $1
returning source
