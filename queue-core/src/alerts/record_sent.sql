-- Records that alerts were sent, whose kinds are in $1 and subjects in $2. Those that are over ($3) are removed.
with sent as (
    select * from unnest($1::text[], $2::text[], $3::boolean[]) as sent (kind, subject, is_over)
), removed as (
    delete from queue.alerts
    using sent
    where alerts.kind = sent.kind
        and alerts.subject = sent.subject
        and sent.is_over
        and over_at is not null
)
update queue.alerts
set told_at = statement_timestamp()
from sent
where alerts.kind = sent.kind
    and alerts.subject = sent.subject
    and not (sent.is_over and over_at is not null)
