-- Records that alerts were told, whose kinds are in $1 and subjects in $2. Those that are over ($3) are removed.
with told as (
    select * from unnest($1::text[], $2::text[], $3::boolean[]) as told (kind, subject, is_over)
), removed as (
    delete from queue.alerts
    using told
    where alerts.kind = told.kind
        and alerts.subject = told.subject
        and told.is_over
        and over_at is not null
)
update queue.alerts
set told_at = statement_timestamp()
from told
where alerts.kind = told.kind
    and alerts.subject = told.subject
    and not (told.is_over and over_at is not null)
