-- Removes a schedule, and tells who declared it; null when it was added at run time. Its firings
-- stay, so that one of the same name that is added later enqueues nothing twice.
delete from queue.recurring_jobs
where name = $1
returning source
