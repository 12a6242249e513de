-- Adds the counts of one process to the present minute. Locks only its own new rows.
insert into queue.counts
    (span, at, queue, kind, done, discarded, cancelled, failed, retried, waited_ms, ran_ms)
select 0, date_bin('1 minute', statement_timestamp(), 'epoch'::timestamptz), given.*
from unnest(
    $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[]
) as given (queue, kind, done, discarded, cancelled, failed, retried, waited_ms, ran_ms)
