        select steps.ctid as place
        from queue.steps
        where steps.job_id = given.job_id
            and steps.name = given.name
            and steps.occurrence = given.occurrence
            and result::text = given.old
        limit 1
        for no key update
    ) as unchanged
)
update queue.steps
set result = (select new::jsonb from found where place = steps.ctid limit 1)
where ctid = any (array(select place from found))
