-- Returns up to $2 versions of programs that were first seen since $1, the newest first.
select version, min(first_seen_at) as first_seen_at
from queue.kind_versions
group by version
having min(first_seen_at) >= $1
order by first_seen_at desc, version
limit $2
