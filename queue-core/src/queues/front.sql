-- Finds the next ready jobs of a queue behind a place in its line, with their places.
select job_id, priority, seq
from queue.ready
where queue = $1
    and (priority, seq) > ($2, $3)
order by priority, seq
limit $4
