        select recurring_jobs.ctid as place
        from queue.recurring_jobs
        where recurring_jobs.name = given.name
            and args::text = given.old
        limit 1
        for no key update
    ) as unchanged
)
update queue.recurring_jobs
set args = (select new::jsonb from found where place = recurring_jobs.ctid limit 1)
where ctid = any (array(select place from found))
