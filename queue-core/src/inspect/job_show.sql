-- Returns all details of one job except its attempts. A job is in exactly one of the state tables.
select jobs.id, jobs.kind, jobs.queue, jobs.priority, coalesce(jobs.tags, '{}') as tags, jobs.args, jobs.tenant,
    jobs.context, jobs.attempts_max,
    jobs.crashes_max, jobs.created_at as enqueued_at, jobs.unique_key is not null as is_unique,
    exists (select from queue.unique_keys where unique_keys.job_id = jobs.id) as holds_key,
    case
        when scheduled.job_id is not null then 'scheduled'
        when ready.job_id is not null then 'ready'
        when blocked.job_id is not null then 'blocked'
        when claimed.job_id is not null then 'running'
        when failed.job_id is not null then 'failed'
        else 'finished'
    end as state,
    coalesce(
        scheduled.attempt, ready.attempt, blocked.attempt, claimed.attempt, failed.attempt,
        finished.attempt
    ) as attempt,
    coalesce(scheduled.failures, ready.failures, blocked.failures, claimed.failures, failed.failures) as failures,
    coalesce(
        scheduled.crashes, ready.crashes, blocked.crashes, claimed.crashes, failed.crashes
    ) as crashes,
    (
        select coalesce(jsonb_agg(jsonb_build_object(
            'key', key, 'to', slots, 'space_seconds', extract(epoch from space), 'burst', burst,
            'duration_seconds', extract(epoch from hold),
            'on_conflict', coalesce(conflict, 'block')
        )), '[]')
        from jsonb_to_recordset(jobs.limits) as brought (
            key text, slots integer, space interval, burst integer, hold interval, conflict text
        )
    ) as limits,
    jobs.batch_id, array(
        select on_id
        from queue.dependencies
        where dependencies.job_id = jobs.id
            and rule in ('cancel', 'continue', 'hold')
            and not exists (select from queue.finished where finished.job_id = on_id)
        order by on_id
        limit 100
    ) as waits_for_jobs, (
        select on_id
        from queue.dependencies
        where dependencies.job_id = jobs.id
            and rule in ('success', 'failure', 'completion')
        limit 1
    ) as callback_of,
    blocked.key as blocked_on, blocked.blocked_at, bypasses.at as let_run_at,
    coalesce(claimed.keys, '{}') as holds_slots_of, (
        select coalesce(jsonb_agg(
            jsonb_build_object('job_id', slots.job_id, 'since', holder.claimed_at)
            order by number
        ), '[]')
        from queue.slots
        left join queue.claimed as holder on holder.job_id = slots.job_id
        where slots.key = blocked.key
            and (expires_at is null or expires_at > clock_timestamp())
    ) as blocked_by, (
        select next_at - (burst - 1) * space
        from queue.rates
        where rates.key = blocked.key
            and next_at - (burst - 1) * space > clock_timestamp()
    ) as next_start_at,
    (
        select event
        from queue.waits
        where waits.job_id = jobs.id and waits.attempt = scheduled.attempt
    ) as waits_for_event,
    scheduled.due_at, ready.ready_at, claimed.claimed_at, claimed.cancel_requested_at,
    claimed.process_id, processes.name as process, failed.failed_at, finished.started_at,
    finished.finished_at, finished.outcome::text as outcome, clock_timestamp() as now
from queue.jobs
left join queue.scheduled on scheduled.job_id = jobs.id
left join queue.ready on ready.job_id = jobs.id
left join queue.blocked on blocked.job_id = jobs.id
left join queue.bypasses on bypasses.job_id = jobs.id
left join queue.claimed on claimed.job_id = jobs.id
left join queue.failed on failed.job_id = jobs.id
left join queue.finished on finished.job_id = jobs.id
left join queue.processes on processes.id = claimed.process_id
where jobs.id = $1
