-- Returns the alerts whose beginning or end has not been sent, beginnings first.
select kind, subject, text, begun_at, over_at, told_at is null as is_new
from queue.alerts
where told_at is null
    or over_at is not null
order by is_new desc, begun_at, kind, subject
