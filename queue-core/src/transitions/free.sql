), freed_slots as (
    delete from queue.slots
    where ctid = any (array(
        select slot.place
        from closed
        cross join lateral unnest(closed.keys, closed.slots) as held (key, number)
        cross join lateral (
            select ctid as place
            from queue.slots
            where slots.key = held.key
                and slots.number = held.number
                and slots.job_id = closed.job_id
            limit 1
        ) as slot
    ))
), freed_keys as (
    delete from queue.unique_keys
    where job_id = any (array(
            select job_id
            from closed
            where has_key and became not in ('scheduled', 'ready')
        ))
        and held_in & (case
            when job_id = any (array(select job_id from closed where became = 'failed')) then 16
            else 32
        end) = 0
)
select *
from answer
