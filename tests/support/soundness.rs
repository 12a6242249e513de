//! Checks of the tables that must hold at any moment.

use sqlx::PgPool;

use crate::world::World;

/// Queries that return a line per problem.
const TABLE_CHECKS: [&str; 9] = [
    "with places as (
        select job_id, 'scheduled' as place from queue.scheduled
        union all select job_id, 'ready' from queue.ready
        union all select job_id, 'blocked' from queue.blocked
        union all select job_id, 'claimed' from queue.claimed
        union all select job_id, 'failed' from queue.failed
        union all select job_id, 'finished' from queue.finished
    )
    select format('job %s is in %s', coalesce(id, job_id),
        coalesce(string_agg(place, ' and '), 'no state'))
    from queue.jobs
    full join places on job_id = id
    group by id, job_id
    having count(id) <> 1 or count(place) <> 1",
    "with places as (
        select job_id, 1 as bit from queue.scheduled
        union all select job_id, 2 from queue.ready
        union all select job_id, 4 from queue.claimed
        union all select job_id, 8 from queue.blocked
        union all select job_id, 16 from queue.failed
        union all select job_id, 32 from queue.finished
    )
    select format('job %s holds a key in a state that does not count', held.job_id)
    from queue.unique_keys as held
    left join places on places.job_id = held.job_id
    where coalesce(bit & held_in, 0) = 0",
    "select format('two keys are held by job %s', job_id)
    from queue.unique_keys group by job_id having count(*) > 1",
    "with places as (
        select job_id, attempt from queue.scheduled
        union all select job_id, attempt from queue.ready
        union all select job_id, attempt from queue.claimed
        union all select job_id, attempt from queue.blocked
        union all select job_id, attempt from queue.failed
        union all select job_id, attempt from queue.finished
    )
    select format('job %s has attempt %s on record and is at attempt %s', attempts.job_id,
        attempts.attempt, places.attempt)
    from queue.attempts
    left join places on places.job_id = attempts.job_id
    where places.job_id is null or places.attempt < attempts.attempt",
    "select format('job %s has attempt %s on record, and finished with it', job_id, attempt)
    from queue.attempts
    join queue.finished using (job_id, attempt)
    where outcome = 'done'",
    "select format('slot %s of %s is held by job %s, which is not claimed with it', number, key,
        slots.job_id)
    from queue.slots
    where not exists (
        select
        from queue.claimed
        cross join lateral unnest(claimed.keys, claimed.slots) as held (key, number)
        where claimed.job_id = slots.job_id
            and held.key = slots.key
            and held.number = slots.number
    )",
    "select format('job %s is claimed with slot %s of %s, which it does not hold', claimed.job_id,
        held.number, held.key)
    from queue.claimed
    cross join lateral unnest(claimed.keys, claimed.slots) as held (key, number)
    where not exists (
        select
        from queue.slots
        where slots.job_id = claimed.job_id
            and slots.key = held.key
            and slots.number = held.number
    )",
    "select format('batch %s counts %s, and its jobs are %s', id, counted, found)
    from queue.batches
    cross join lateral (
        select array[batches.added + change.added, batches.done + change.done,
            batches.discarded + change.discarded, batches.failed + change.failed,
            batches.cancelled + change.cancelled] as counted
        from (
            select coalesce(sum(added), 0) as added, coalesce(sum(done), 0) as done,
                coalesce(sum(discarded), 0) as discarded, coalesce(sum(failed), 0) as failed,
                coalesce(sum(cancelled), 0) as cancelled
            from queue.deltas
            where target = batches.id
        ) as change
    ) as counts
    cross join lateral (
        select array[count(*), count(*) filter (where outcome = 'done'),
            count(*) filter (where outcome = 'discarded'), count(failed.job_id),
            count(*) filter (where outcome = 'cancelled')] as found
        from queue.jobs
        left join queue.finished on finished.job_id = jobs.id
        left join queue.failed on failed.job_id = jobs.id
        where jobs.batch_id = batches.id
    ) as jobs
    where counted <> found
        and not exists (select from queue.batches as within where within.parent_id = batches.id)",
    "select format('job %s of tenant %s is on track %s for tenant %s', job_id, jobs.tenant, track,
        ready.tenant)
    from queue.ready
    join queue.jobs on jobs.id = job_id
    where track > 2 and ready.tenant is null
        or track < 2 and ready.tenant is not null
        or track in (1, 4) and jobs.limits is null
        or track = 3 and jobs.limits is not null
        or ready.tenant <> jobs.tenant",
];

/// The same, for the runs that deeds record.
const RUN_CHECKS: [&str; 3] = [
    "select format('job %s ran attempt %s %s times', job_id, attempt, count(*))
    from ledger.runs group by job_id, attempt having count(*) > 1",
    "select format('job %s ran attempt %s after it had finished with %s', job_id, runs.attempt,
        finished.attempt)
    from ledger.runs join queue.finished using (job_id)
    where runs.attempt > finished.attempt",
    "select format('job %s is done by attempt %s, which never ran', job_id, finished.attempt)
    from queue.finished
    where outcome = 'done'
        and not exists (
            select from ledger.runs
            where runs.job_id = finished.job_id and runs.attempt = finished.attempt
        )",
];

/// Finds all problems in the tables.
pub async fn problems(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    run_checks(pool, &TABLE_CHECKS).await
}

/// Checks the tables.
///
/// # Panics
/// When there is a problem.
pub async fn assert_tables_sound(pool: &PgPool) {
    let found = problems(pool)
        .await
        .expect("the checks of the tables should run");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Checks the tables and the recorded runs.
///
/// # Panics
/// When there is a problem.
pub async fn assert_sound(pool: &PgPool) {
    let mut found = problems(pool)
        .await
        .expect("the checks of the tables should run");
    let about_runs = run_checks(pool, &RUN_CHECKS).await;
    found.extend(about_runs.expect("the checks of the runs should run"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

async fn run_checks(pool: &PgPool, checks: &[&'static str]) -> Result<Vec<String>, sqlx::Error> {
    let mut found = Vec::new();
    for check in checks {
        found.extend(
            sqlx::query_scalar::<_, String>(*check)
                .fetch_all(pool)
                .await?,
        );
    }
    Ok(found)
}

/// Waits until every job is finished or failed, and checks that no slot is held.
///
/// # Panics
/// When that does not happen, or when the tables are not sound.
pub async fn until_idle(world: &World) {
    world.until_all_ended().await;
    assert_eq!(world.count("slots").await, 0);
    assert_tables_sound(world.pool()).await;
}
