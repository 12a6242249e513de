-- Removes what was counted for targets ($1) that are neither batches nor jobs that wait: jobs that an operator
-- ran or cancelled while they waited.
delete from queue.deltas
where target = any (array(
    select target
    from unnest($1::bigint[]) as given (target)
    where (select id from queue.batches where batches.id = given.target) is null
        and (
            select job_id from queue.blocked where blocked.job_id = given.target and key = '@after'
        ) is null
))
