-- Opens an alert for each thing that is wrong: its kind in $1, its subject in $2, and its words in $3. Ends the
-- alerts about states that are no longer so, but not those of the kinds in $5, of which not all were found. Removes
-- alerts whose kinds are not in $4, and those of events a day after they were sent: until then a batch is not sent
-- again.
--
-- Only the process that has the turn runs this. Locks rows in the order of their keys.
with wrong as (
    select distinct on (kind, subject) kind, subject, text
    from unnest($1::text[], $2::text[], $3::text[]) as wrong (kind, subject, text)
    order by kind, subject
), ended as (
    update queue.alerts
    set over_at = statement_timestamp()
    where over_at is null
        and kind = any ($4::text[])
        and kind <> all ($5::text[])
        and kind <> all (array['dead_process', 'partial_batch'])
        and not exists (
            select from wrong where wrong.kind = alerts.kind and wrong.subject = alerts.subject
        )
), cleared as (
    delete from queue.alerts
    where kind <> all ($4::text[])
        or kind = any (array['dead_process', 'partial_batch'])
            and told_at < statement_timestamp() - interval '1 day'
)
insert into queue.alerts as alerts (kind, subject, text)
select kind, subject, text
from wrong
on conflict (kind, subject) do update
set over_at = null
where alerts.over_at is not null
