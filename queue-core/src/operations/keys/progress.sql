        select progress.ctid as place
        from queue.progress
        where progress.job_id = given.job_id
            and progress.name = given.name
            and value::text = given.old
        limit 1
        for no key update
    ) as unchanged
)
update queue.progress
set value = (select new::jsonb from found where place = progress.ctid limit 1)
where ctid = any (array(select place from found))
