-- Finds the next ready jobs of a queue behind a place in its line, with their places.
select job_id, priority, track, seq
from queue.ready
where queue = $1
    and (priority, track, seq) > ($2, $3, $4)
order by priority, track, seq
limit $5
