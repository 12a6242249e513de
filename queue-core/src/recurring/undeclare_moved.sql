-- Removes the recurring jobs of the source $1 that are named in $2: they are on another shard.
delete from queue.recurring_jobs
where source = $1
    and name = any ($2::text[])
returning name
