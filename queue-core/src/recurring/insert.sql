-- Adds a recurring job. Is followed by a clause for a name that is taken.
insert into queue.recurring_jobs as stored (
    name, schedule, zone, kind, args, queue, priority, attempts_max, crashes_max, tags, missed,
    missed_max, overlap, jitter_ms, limits, unique_rule, tenant, context, source,
    next_at
)
values ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9, $10::text[], $11, $12, $13, $14, $15::jsonb,
    $16::jsonb, $17, $18::jsonb, $19, $20)
