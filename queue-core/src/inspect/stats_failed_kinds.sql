-- Counts failed jobs by kind, the most frequent first, among $1 of them.
select kind, count(*) as count
from (select kind from queue.failed limit $1) as counted
group by kind
order by count desc, kind
