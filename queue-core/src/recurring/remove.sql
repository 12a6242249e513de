-- Removes a recurring job, and returns its source; null if it was added at run time. Its firings
-- stay, so that a later recurring job of this name does not enqueue a due time twice.
delete from queue.recurring_jobs
where name = $1
returning source
