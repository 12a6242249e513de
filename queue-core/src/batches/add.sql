-- Counts jobs ($2) that were added to targets ($1).
insert into queue.deltas (target, added)
select target, added
from unnest($1::bigint[], $2::integer[]) as given (target, added)
