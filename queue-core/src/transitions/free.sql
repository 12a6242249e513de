-- Continues every statement that ends runs: removes the slots of the jobs in `ended`, and frees the
-- unique keys that they do not keep in the state they reach.
), freed_slots as (
    delete from queue.slots
    where ctid = any (array(
        select found.place
        from ended
        cross join lateral unnest(ended.keys, ended.slots) as slot (key, number)
        cross join lateral (
            select ctid as place
            from queue.slots
            where slots.key = slot.key
                and slots.number = slot.number
                and slots.job_id = ended.job_id
            limit 1
        ) as found
    ))
), freed_keys as (
    delete from queue.unique_keys
    where job_id = any (array(
            select job_id
            from ended
            where has_key and became not in ('scheduled', 'ready')
        ))
        and held_in & (case
            when job_id = any (array(select job_id from ended where became = 'failed'))
                then queue.state_failed()
            else queue.state_finished()
        end) = 0
)
select *
from answer
