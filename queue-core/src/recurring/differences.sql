-- Returns in what the stored recurring job $1 differs from a definition: the names of columns.
with declared (
    name, schedule, zone, kind, args, queue, priority, attempts_max, crashes_max, tags, missed,
    missed_max, overlap, jitter_ms, limits, unique_rule, tenant, context
) as (
    values (
        $1::text, $2::text, $3::text, $4::text, $5::jsonb, $6::text, $7::smallint, $8::smallint,
        $9::smallint, $10::text[], $11::text, $12::integer, $13::text, $14::bigint, $15::jsonb,
        $16::jsonb, $17::text, $18::jsonb
    )
)
select ours.key
from declared
cross join lateral jsonb_each(to_jsonb(declared)) as ours
join queue.recurring_jobs on recurring_jobs.name = declared.name
where ours.value is distinct from to_jsonb(recurring_jobs) -> ours.key
order by ours.key
