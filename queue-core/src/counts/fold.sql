-- Adds up counts: those of processes by minutes, those of minutes by hours once they are a day old, and
-- those of hours by days once they are 30 days old; days are kept for a year. Takes up to $1 rows of each.
-- A minute also gets the sum over all queues and kinds. Of each span of time, only the thousand most
-- frequent pairs of a queue and a kind keep their names.
--
-- If the rows of a span are taken in parts, or come late, it gets several rows: readers add them up.
-- Locks rows with skip locked: of several processes, each takes other rows.
with rule (span, next_span, width, before) as (
    values
        (0::smallint, 1::smallint, interval '1 minute', statement_timestamp() - interval '2 minutes'),
        (1::smallint, 60::smallint, interval '1 hour', statement_timestamp() - interval '1 day'),
        (60::smallint, 1440::smallint, interval '1 day', statement_timestamp() - interval '30 days')
), old as (
    delete from queue.counts
    where ctid = any (array(
        select found.place
        from rule
        cross join lateral (
            select ctid as place
            from queue.counts
            where counts.span = rule.span
                and counts.at < date_bin(rule.width, rule.before, 'epoch'::timestamptz)
            order by counts.at
            limit $1
            for update skip locked
        ) as found
    ))
    returning *
), cleared as (
    delete from queue.counts
    where span = 1440
        and at < statement_timestamp() - interval '1 year'
), summed as (
    select rule.next_span as span, date_bin(rule.width, old.at, 'epoch'::timestamptz) as at, queue, kind,
        sum(done) as done, sum(discarded) as discarded, sum(cancelled) as cancelled,
        sum(failed) as failed, sum(retried) as retried, sum(waited_ms) as waited_ms,
        sum(ran_ms) as ran_ms
    from old
    join rule on rule.span = old.span
    group by 1, 2, 3, 4
), ranked as (
    select *, row_number() over (
        partition by span, at
        order by queue = '*' desc, done + discarded + cancelled + failed + retried desc
    ) <= 1000 as is_named
    from summed
), named as (
    select span, at, case when is_named then queue else '' end as queue,
        case when is_named then kind else '' end as kind, done, discarded, cancelled, failed, retried,
        waited_ms, ran_ms
    from ranked
    union all
    select span, at, '*', '*', done, discarded, cancelled, failed, retried, waited_ms, ran_ms
    from summed
    where span = 1
), added as (
    insert into queue.counts
        (span, at, queue, kind, done, discarded, cancelled, failed, retried, waited_ms, ran_ms)
    select span, at, queue, kind, sum(done), sum(discarded), sum(cancelled), sum(failed), sum(retried),
        sum(waited_ms), sum(ran_ms)
    from named
    group by 1, 2, 3, 4
)
select coalesce(max(rows), 0)
from (select count(*) as rows from old group by span) as taken
