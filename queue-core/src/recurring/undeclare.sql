-- Removes the schedules of the source $1 that it does not declare any more: all but $2.
delete from queue.recurring_jobs
where source = $1
    and name <> all ($2::text[])
returning name
