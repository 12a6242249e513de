-- firings -> gone: up to $2 that are older than $1 ms, oldest first. Keeps the firing of the last due
-- time of each existing recurring job, of any age.
with old as (
    select id
    from queue.firings
    where fired_at < statement_timestamp() - $1 * interval '1 millisecond'
        and (
            due_at is null
            or exists (
                select
                from queue.firings as later
                where later.recurring_job = firings.recurring_job
                    and later.due_at > firings.due_at
            )
            or not exists (select from queue.recurring_jobs where name = firings.recurring_job)
        )
    order by fired_at
    limit $2
    for update of firings skip locked
), cleared as (
    delete from queue.firings where id = any (array(select id from old))
)
select count(*) from old
