-- Returns the recurring jobs of the source $1, except those named in $2, which it declares.
select name
from queue.recurring_jobs
where source = $1
    and name <> all ($2::text[])
order by name
