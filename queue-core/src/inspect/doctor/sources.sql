-- Counts the recurring jobs of each source that are not paused.
select source, count(*) as count
from queue.recurring_jobs
where source is not null
    and paused_at is null
group by source
order by source
