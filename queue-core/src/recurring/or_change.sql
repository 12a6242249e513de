-- Changes a recurring job of the same source, or of one that no process has any more, unless it is
-- equal already. The plan changes only if the schedule or the zone does.
on conflict (name) do update
set schedule = excluded.schedule, zone = excluded.zone, kind = excluded.kind,
    args = excluded.args, queue = excluded.queue, priority = excluded.priority,
    attempts_max = excluded.attempts_max, crashes_max = excluded.crashes_max,
    tags = excluded.tags, missed = excluded.missed, missed_max = excluded.missed_max,
    overlap = excluded.overlap, jitter_ms = excluded.jitter_ms, limits = excluded.limits,
    unique_rule = excluded.unique_rule, tenant = excluded.tenant, context = excluded.context,
    source = excluded.source,
    updated_at = statement_timestamp(),
    next_at = case
        when (stored.schedule, stored.zone) = (excluded.schedule, excluded.zone)
            then stored.next_at
        else excluded.next_at
    end
where (
        stored.source is not distinct from excluded.source
        or excluded.source is not null and not exists (
            select from queue.processes where details ->> 'source' = stored.source
        ) and stored.source is not null
    )
    and (
        stored.schedule, stored.zone, stored.kind, stored.args, stored.queue, stored.priority,
        stored.attempts_max, stored.crashes_max, stored.tags, stored.missed, stored.missed_max,
        stored.overlap, stored.jitter_ms, stored.limits, stored.unique_rule, stored.tenant,
        stored.context, stored.source
    ) is distinct from (
        excluded.schedule, excluded.zone, excluded.kind, excluded.args, excluded.queue,
        excluded.priority, excluded.attempts_max, excluded.crashes_max, excluded.tags,
        excluded.missed, excluded.missed_max, excluded.overlap, excluded.jitter_ms,
        excluded.limits, excluded.unique_rule, excluded.tenant, excluded.context,
        excluded.source
    )
returning created_at = updated_at as is_new
