-- Returns the versions of programs that know some of the kinds $1, by the time they were first seen.
select kind, version, first_seen_at
from queue.kind_versions
where kind = any ($1)
order by first_seen_at, version
