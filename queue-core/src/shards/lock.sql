-- Locks keys, by the numbers of their locks $1 in ascending order, until the end of the transaction.
select pg_advisory_xact_lock(hashtextextended('queue.shards', number))
from unnest($1::bigint[]) as asked (number)
