-- Records that a process polls queues for jobs of some kinds: from now on, enqueueing those jobs does
-- not notify. Returns the queues that it polls, without those that another process polls.
insert into queue.pollers (queue, process_id, kinds)
select queue, $1, $3
from unnest($2::text[]) as queue
order by queue
on conflict (queue) do update
set process_id = excluded.process_id, kinds = excluded.kinds
where pollers.process_id = excluded.process_id
    or not exists (select from queue.processes where id = pollers.process_id)
returning queue
