-- Returns the queues in which a run has ended within a year, in one look at the index counts_bars for each, and
-- those that processes name.
with recursive counted as (
    (select queue from queue.counts order by queue limit 1)
    union all
    select next.queue
    from counted
    cross join lateral (
        select counts.queue
        from queue.counts
        where counts.queue > counted.queue
        order by counts.queue
        limit 1
    ) as next
)
select queue
from counted
where queue not in ('*', '')
union
select trim(listed)
from queue.processes
cross join jsonb_path_query(details, '$.queues[*]') as list
cross join string_to_table(list #>> '{}', ',') as listed
where listed not like '%*'
