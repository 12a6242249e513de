-- Returns the kinds of ready jobs in each queue. Reads all rows of ready.
select ready.queue, ready.kind, count(*) as ready,
    greatest(extract(epoch from clock_timestamp() - min(ready_at)), 0)::float8 as oldest_seconds,
    queues.paused_at is not null as paused
from queue.ready
left join queue.queues on queues.name = ready.queue
group by ready.queue, ready.kind, queues.paused_at
order by ready.queue, ready.kind
