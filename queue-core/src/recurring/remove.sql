-- Removes a schedule that was added at run time. Its firings stay, so that one of the same name
-- that is added later enqueues nothing twice.
delete from queue.schedules
where name = $1
    and source is null
