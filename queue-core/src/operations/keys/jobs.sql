        select jobs.ctid as place
        from queue.jobs
        where jobs.id = given.job_id
            and args::text = given.old
        limit 1
        for no key update
    ) as unchanged
)
update queue.jobs
set args = (select new::jsonb from found where place = jobs.ctid limit 1)
where ctid = any (array(select place from found))
