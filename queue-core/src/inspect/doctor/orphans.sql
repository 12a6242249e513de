-- Counts claimed jobs whose process has no row.
select count(*)
from queue.claimed
where not exists (select from queue.processes where processes.id = claimed.process_id)
