-- Returns acts, the last first: up to $1 with ids below $2, of one person ($3) and one verb ($4).
select id, at, jobs, refused, who, role, what, target, why
from queue.audit
where ($2::bigint is null or id < $2)
    and ($3::text is null or who = $3)
    and ($4::text is null or what = $4)
order by id desc
limit $1
