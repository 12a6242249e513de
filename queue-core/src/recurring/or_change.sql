-- Changes a recurring job of the same source, unless it is equal already. The plan changes only if
-- the schedule or the zone does.
on conflict (name) do update
set schedule = excluded.schedule, zone = excluded.zone, kind = excluded.kind,
    args = excluded.args, queue = excluded.queue, priority = excluded.priority,
    attempts_max = excluded.attempts_max, crashes_max = excluded.crashes_max,
    tags = excluded.tags, missed = excluded.missed, missed_max = excluded.missed_max,
    overlap = excluded.overlap, jitter_ms = excluded.jitter_ms, limits = excluded.limits,
    updated_at = statement_timestamp(),
    next_at = case
        when (stored.schedule, stored.zone) = (excluded.schedule, excluded.zone)
            then stored.next_at
        else excluded.next_at
    end
where stored.source is not distinct from excluded.source
    and (
        stored.schedule, stored.zone, stored.kind, stored.args, stored.queue, stored.priority,
        stored.attempts_max, stored.crashes_max, stored.tags, stored.missed, stored.missed_max,
        stored.overlap, stored.jitter_ms, stored.limits
    ) is distinct from (
        excluded.schedule, excluded.zone, excluded.kind, excluded.args, excluded.queue,
        excluded.priority, excluded.attempts_max, excluded.crashes_max, excluded.tags,
        excluded.missed, excluded.missed_max, excluded.overlap, excluded.jitter_ms,
        excluded.limits
    )
returning created_at = updated_at as is_new
