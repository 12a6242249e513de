//! Random transitions, in sequence and concurrently, some of them too late: each job stays in one
//! state, none is lost, and none runs twice under one attempt number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::Utc;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use queue_core::operations::limits::{LimitSetting, SetBy, reset, set};
use queue_core::operations::queues::set_fair;
use queue_core::process::{ProcessId, ProcessInfo, register};
use queue_core::transitions::cancel::{cancel_waiting, request_cancel};
use queue_core::transitions::claim::{ClaimedJob, FairLane, Lane, Track, Turn, claim};
use queue_core::transitions::claim_fair::{TenantInTurn, claim_fair, tenants_in_turn};
use queue_core::transitions::claim_limited::{after_claim, claim_limited};
use queue_core::transitions::clear::{ClearFilter, clear_failed, clear_finished};
use queue_core::transitions::end::{End, end, release_unknown};
use queue_core::transitions::finish::finish;
use queue_core::transitions::prioritize::prioritize;
use queue_core::transitions::promote::promote;
use queue_core::transitions::recover::recover;
use queue_core::transitions::reschedule::reschedule;
use queue_core::transitions::retry_now::retry_now;
use queue_core::transitions::unblock::{blocked_keys, run_anyway, unblock};
use queue_core::transitions::{AttemptError, Claim, Ending, Run};
use queue_core::{
    Conflict, Context, JobId, Limits, NewJob, OnConflict, Options, Outcome, Queue, Schema, States,
    Unique,
};
use queue_tests::soundness::problems;
use queue_tests::world::World;
use serde_json::json;
use sqlx::PgConnection;

const PROCESSES: usize = 3;

/// Something that a producer, a process or an operator may do at any moment. Numbers that select
/// jobs and claims wrap around, so every number is valid.
#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        key: Option<u8>,
        counts: Counts,
        on_conflict: OnConflict,
        within: bool,
        later: bool,
        many: usize,
        limits: Vec<(u8, Conflict)>,
        tenant: Option<u8>,
    },
    Promote {
        hours: i64,
    },
    Claim {
        process: usize,
        limit: usize,
    },
    ClaimLimited {
        process: usize,
        limit: usize,
    },
    /// Claims in turns of two jobs.
    ClaimFair {
        process: usize,
        limit: usize,
    },
    Unblock,
    RunAnyway {
        job: usize,
    },
    /// Sets or resets the limit of one key, or of all keys.
    SetLimit {
        name: &'static str,
        to: Option<u32>,
    },
    /// Ends any run that was ever claimed, in the given way or by finishing its job. Most of these
    /// runs have ended before.
    End {
        claim: usize,
        by: Option<usize>,
        how: Option<End>,
    },
    Cancel {
        job: usize,
    },
    RequestCancel {
        job: usize,
    },
    RetryNow {
        job: usize,
    },
    Reschedule {
        job: usize,
        hours: i64,
    },
    Prioritize {
        job: usize,
        priority: i16,
    },
    Die {
        process: usize,
    },
    ReleaseUnknown {
        process: usize,
        known: bool,
    },
    ClearFinished,
    ClearFailed,
}

#[derive(Clone, Copy, Debug)]
enum Counts {
    Waiting,
    Unfinished,
    UnlessDone,
    Always,
}

fn counts() -> impl Strategy<Value = Counts> {
    prop_oneof![
        Just(Counts::Waiting),
        Just(Counts::Unfinished),
        Just(Counts::UnlessDone),
        Just(Counts::Always),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let on_conflict = prop_oneof![
        Just(OnConflict::Keep),
        Just(OnConflict::Replace),
        Just(OnConflict::Reject),
    ];
    let (error, delay) = (error(), Duration::from_secs(600));
    let retry = End::Retry {
        error: error.clone(),
        delay,
    };
    let fail = End::Fail {
        error: error.clone(),
    };
    let outcome = Outcome::Discarded;
    let how = prop_oneof![
        3 => Just(None),
        3 => Just(Some(retry)),
        2 => Just(Some(End::Snooze { delay })),
        3 => Just(Some(fail)),
        1 => Just(Some(End::Discard { error, outcome })),
        4 => Just(Some(End::Release)),
    ];
    let key = prop_oneof![2 => Just(None), 3 => (0..3_u8).prop_map(Some)];
    let within = proptest::bool::weighted(0.1);
    let process = 0..PROCESSES;
    prop_oneof![
        6 => (key, counts(), on_conflict, within, any::<bool>(), 1..4_usize, limits(), tenant())
            .prop_map(
                |(key, counts, on_conflict, within, later, many, limits, tenant)| Step::Enqueue {
                    key, counts, on_conflict, within, later, many, limits, tenant,
                }
            ),
        3 => (0..3_i64).prop_map(|hours| Step::Promote { hours }),
        6 => (process.clone(), 1..4_usize)
            .prop_map(|(process, limit)| Step::Claim { process, limit }),
        8 => (process.clone(), 1..4_usize)
            .prop_map(|(process, limit)| Step::ClaimLimited { process, limit }),
        6 => (process.clone(), 1..4_usize)
            .prop_map(|(process, limit)| Step::ClaimFair { process, limit }),
        2 => Just(Step::Unblock),
        1 => any::<usize>().prop_map(|job| Step::RunAnyway { job }),
        2 => (0..LIMIT_NAMES.len(), proptest::option::weighted(0.4, 0..4_u32))
            .prop_map(|(name, to)| Step::SetLimit { name: LIMIT_NAMES[name], to }),
        12 => (any::<usize>(), proptest::option::weighted(0.2, process.clone()), how)
            .prop_map(|(claim, by, how)| Step::End { claim, by, how }),
        2 => any::<usize>().prop_map(|job| Step::Cancel { job }),
        2 => any::<usize>().prop_map(|job| Step::RequestCancel { job }),
        3 => any::<usize>().prop_map(|job| Step::RetryNow { job }),
        2 => (any::<usize>(), -1..3_i64).prop_map(|(job, hours)| Step::Reschedule { job, hours }),
        2 => (any::<usize>(), -1..2_i16).prop_map(|(job, priority)| Step::Prioritize { job, priority }),
        2 => process.clone().prop_map(|process| Step::Die { process }),
        1 => (process, any::<bool>())
            .prop_map(|(process, known)| Step::ReleaseUnknown { process, known }),
        1 => Just(Step::ClearFinished),
        1 => Just(Step::ClearFailed),
    ]
}

/// All names under which the limits of these jobs can be set.
const LIMIT_NAMES: [&str; 5] = ["k", "k/0", "@queue/default", "@kind/k", "@tenant/t0"];

/// The keys of a job's limits and what happens without room. Key `n` allows `n + 1` jobs at once.
fn limits() -> impl Strategy<Value = Vec<(u8, Conflict)>> {
    let conflict = prop_oneof![
        4 => Just(Conflict::Block),
        1 => Just(Conflict::Discard),
        1 => Just(Conflict::Replace),
    ];
    let none = Just(Vec::new());
    let one = (0..2_u8, conflict.clone()).prop_map(|limit| vec![limit]);
    let both = (conflict.clone(), conflict).prop_map(|(a, b)| vec![(0, a), (1, b)]);
    prop_oneof![3 => none, 3 => one, 1 => both]
}

/// The tenant of a job, if it has one.
fn tenant() -> impl Strategy<Value = Option<u8>> {
    proptest::option::of(0..3_u8)
}

/// Carries out steps, and keeps track of the runs that have not ended.
struct Actor {
    queue: Queue,
    schema: Schema,
    conn: PgConnection,
    processes: Vec<ProcessId>,
    jobs: Vec<JobId>,
    claims: Vec<(ProcessId, Claim)>,
    /// The claims that have not ended, as indexes into `claims`.
    open: BTreeSet<usize>,
    /// The jobs with a cancel request that have not failed and been retried since.
    asked: BTreeSet<JobId>,
}

impl Actor {
    async fn new(world: &World) -> Self {
        let mut actor = Self {
            queue: world.queue.clone(),
            schema: world.queue.schema().clone(),
            conn: world.connect().await,
            processes: Vec::new(),
            jobs: Vec::new(),
            claims: Vec::new(),
            open: BTreeSet::new(),
            asked: BTreeSet::new(),
        };
        let schema = &actor.schema;
        let fair = set_fair(&mut actor.conn, schema, "default", true).await;
        fair.expect("a fair queue");
        for _ in 0..PROCESSES {
            let process = actor.register().await.expect("a process");
            actor.processes.push(process);
        }
        actor
    }

    async fn register(&mut self) -> Result<ProcessId, sqlx::Error> {
        let process = ProcessId::new();
        let info = ProcessInfo {
            name: format!("process {process}"),
            host: "here".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            details: json!({}),
        };
        register(&mut self.conn, &self.schema, process, &info).await?;
        Ok(process)
    }

    /// Carries out a step, and checks its result against the open claims.
    #[expect(clippy::too_many_lines, reason = "a short branch for each step")]
    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enqueue { .. } => self.enqueue(step).await,
            Step::Promote { hours } => {
                let now = Utc::now() + chrono::Duration::hours(*hours);
                ok(promote(&mut self.conn, &self.schema, Some(now), 3).await)?;
                Ok(())
            }
            Step::Claim { process, limit } => self.claim(*process, *limit).await,
            Step::ClaimLimited { process, limit } => self.claim_limited(*process, *limit).await,
            Step::ClaimFair { process, limit } => self.claim_fair(*process, *limit).await,
            Step::Unblock => {
                let keys = ok(blocked_keys(&mut self.conn, &self.schema, "", 10).await)?;
                ok(unblock(&mut self.conn, &self.schema, &keys).await)?;
                Ok(())
            }
            Step::RunAnyway { job } => {
                let jobs = self.pick(*job);
                ok(run_anyway(&mut self.conn, &self.schema, &jobs).await)?;
                Ok(())
            }
            Step::SetLimit { name, to: None } => {
                ok(reset(&mut self.conn, &self.schema, name).await)?;
                Ok(())
            }
            Step::SetLimit { name, to } => {
                let setting = LimitSetting {
                    to: *to,
                    rate: None,
                };
                let by = SetBy::Operator;
                ok(set(&mut self.conn, &self.schema, name, setting, by).await)?;
                Ok(())
            }
            Step::End { claim, by, how } => self.end(*claim, *by, how.as_ref()).await,
            Step::Cancel { job } => {
                let jobs = self.pick(*job);
                ok(cancel_waiting(&mut self.conn, &self.schema, &jobs, Outcome::Cancelled).await)?;
                Ok(())
            }
            Step::RequestCancel { job } => {
                let jobs = self.pick(*job);
                let asked = ok(request_cancel(&mut self.conn, &self.schema, &jobs).await)?;
                self.asked.extend(asked);
                Ok(())
            }
            Step::Reschedule { job, hours } => {
                let (jobs, at) = (
                    self.pick(*job),
                    Utc::now() + chrono::Duration::hours(*hours),
                );
                ok(reschedule(&mut self.conn, &self.schema, &jobs, at).await)?;
                Ok(())
            }
            Step::Prioritize { job, priority } => {
                let jobs = self.pick(*job);
                ok(prioritize(&mut self.conn, &self.schema, &jobs, *priority).await)?;
                Ok(())
            }
            Step::RetryNow { job } => {
                let jobs = self.pick(*job);
                let retried = ok(retry_now(&mut self.conn, &self.schema, &jobs).await)?;
                self.asked.retain(|job| !retried.contains(job));
                Ok(())
            }
            Step::Die { process } => self.die(*process).await,
            Step::ReleaseUnknown { process, known } => self.give_back(*process, *known).await,
            Step::ClearFinished => {
                let (which, keep) = (ClearFilter::default(), Duration::ZERO);
                ok(clear_finished(&mut self.conn, &self.schema, &which, keep, None, 3).await)?;
                Ok(())
            }
            Step::ClearFailed => {
                ok(clear_failed(&mut self.conn, &self.schema, Duration::ZERO, 3).await)?;
                Ok(())
            }
        }
    }

    async fn enqueue(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let Step::Enqueue {
            key,
            counts,
            on_conflict,
            within,
            later,
            many,
            limits,
            tenant,
        } = step
        else {
            return Ok(());
        };
        let mut options = Options::new().attempts(3).crashes(2);
        if *later {
            options = options.delay(Duration::from_secs(3_600));
        }
        if let Some(tenant) = tenant {
            options = options.context(Context::new().tenant(format!("t{tenant}")));
        }
        if let Some(key) = key {
            let mut unique = Unique::by_key(format!("key {key}"))
                .while_in(match counts {
                    Counts::Waiting => States::WAITING,
                    Counts::Unfinished => States::UNFINISHED,
                    Counts::UnlessDone => States::UNFINISHED | States::FAILED,
                    Counts::Always => States::UNFINISHED | States::FAILED | States::FINISHED,
                })
                .on_conflict(*on_conflict);
            if *within {
                unique = unique.within(Duration::from_millis(20));
            }
            options = options.unique(unique);
        }
        let limits = limits.iter().map(|(key, conflict)| {
            let limit = Limits::key(key.to_string()).to(u32::from(*key) + 1);
            limit.on_conflict(*conflict)
        });
        options = options.limits(limits.fold(Limits::none(), Limits::and));
        let jobs = (0..*many).map(|_| NewJob::untyped("k", &json!(1), options.clone()));
        let enqueued = ok(self.queue.enqueue_all(jobs).tx(&mut self.conn).await)?;
        let new = enqueued.iter().filter(|each| each.is_new());
        self.jobs.extend(new.map(|each| each.id()));
        Ok(())
    }

    async fn claim(&mut self, process: usize, limit: usize) -> Result<(), TestCaseError> {
        let process = self.processes[process];
        let kinds = ["k".to_owned()];
        let lanes = [lane(Track::Open)];
        let schema = &self.schema;
        let claimed = claim(&mut self.conn, schema, process, &lanes, &kinds, limit).await;
        self.note_claims(process, ok(claimed)?)
    }

    async fn claim_limited(&mut self, process: usize, limit: usize) -> Result<(), TestCaseError> {
        let process = self.processes[process];
        let kinds = ["k".to_owned()];
        let lanes = [Track::Unblocked, Track::Limited, Track::Open].map(lane);
        let (conn, schema) = (&mut self.conn, &self.schema);
        let claimed = claim_limited(conn, schema, process, &lanes, &kinds, limit, 8).await;
        let claimed = ok(claimed)?;
        ok(after_claim(conn, schema, process, &claimed).await)?;
        self.note_claims(process, claimed.jobs)
    }

    async fn claim_fair(&mut self, process: usize, limit: usize) -> Result<(), TestCaseError> {
        let process = self.processes[process];
        let kinds = ["k".to_owned()];
        for track in [Track::FairLimited, Track::Fair] {
            let lane = FairLane {
                queue: "default".to_owned(),
                priority: 0,
                track,
            };
            let (conn, schema) = (&mut self.conn, &self.schema);
            let tenants = ok(tenants_in_turn(conn, schema, &lane, "t1", 10).await)?;
            let turn = |listed: TenantInTurn| Turn {
                tenant: listed.tenant,
                above: 0,
                up_to: i64::MAX,
                jobs: 2,
                weight: listed.weight,
                is_gated: listed.is_gated,
            };
            let turns: Vec<Turn> = tenants.into_iter().map(turn).collect();
            let claimed = claim_fair(conn, schema, process, &lane, &turns, &kinds, limit).await;
            let claimed = ok(claimed)?;
            ok(after_claim(conn, schema, process, &claimed).await)?;
            self.note_claims(process, claimed.jobs)?;
        }
        Ok(())
    }

    fn note_claims(
        &mut self,
        process: ProcessId,
        claimed: Vec<ClaimedJob>,
    ) -> Result<(), TestCaseError> {
        for job in claimed {
            let name = (process, job.claim.job_id(), job.claim.attempt());
            let known = |(process, claim): &(ProcessId, Claim)| {
                (*process, claim.job_id(), claim.attempt()) == name
            };
            prop_assert!(!self.claims.iter().any(known), "{name:?} was claimed twice");
            self.open.insert(self.claims.len());
            self.claims.push((process, job.claim));
        }
        Ok(())
    }

    /// Returns how many slots of each key are in use, and how many it allows now.
    async fn slots(&mut self) -> Result<BTreeMap<String, (i64, i64)>, TestCaseError> {
        let rows: Vec<(String, i64, i64)> = ok(sqlx::query_as(
            "select key, count(*), coalesce(of_key.slots, of_group.slots, case key
                 when 'k/0' then 1 when 'k/1' then 2 end, 1000)::bigint
             from queue.slots
             left join queue.limits as of_key on of_key.name = key
             left join queue.limits as of_group on of_group.name = 'k' and key like 'k/%'
             group by key, of_key.slots, of_group.slots",
        )
        .fetch_all(&mut self.conn)
        .await)?;
        let slots = rows.into_iter();
        Ok(slots
            .map(|(key, used, allowed)| (key, (used, allowed)))
            .collect())
    }

    async fn end(
        &mut self,
        which: usize,
        by: Option<usize>,
        how: Option<&End>,
    ) -> Result<(), TestCaseError> {
        if self.claims.is_empty() {
            return Ok(());
        }
        let which = which % self.claims.len();
        let (owner, claim) = self.claims[which];
        let process = by.map_or(owner, |by| self.processes[by]);
        let is_open = self.open.contains(&which) && process == owner;
        let before = self.places().await?;
        let ended = ok(end_run(&mut self.conn, &self.schema, process, claim, how).await)?;
        if is_open {
            prop_assert_eq!(&ended, &[claim.job_id()]);
            self.open.remove(&which);
        } else {
            prop_assert!(ended.is_empty(), "{claim:?} was ended twice");
            prop_assert_eq!(before, self.places().await?);
        }
        Ok(())
    }

    /// Makes a process look silent for an hour, recovers its jobs, and registers it anew.
    async fn die(&mut self, process: usize) -> Result<(), TestCaseError> {
        let dead = self.processes[process];
        let silence = "update queue.processes
            set heartbeat_at = clock_timestamp() - interval '1 hour' where id = $1";
        let silenced = sqlx::query(silence).bind(dead.0).execute(&mut self.conn);
        ok(silenced.await)?;
        let threshold = Duration::from_secs(600);
        let recovered = ok(recover(&mut self.conn, &self.schema, threshold, true).await)?;
        let recovered: BTreeSet<JobId> = recovered.iter().map(|job| job.job_id).collect();
        prop_assert_eq!(recovered, self.forget_claims_of(dead));
        self.processes[process] = ok(self.register().await)?;
        Ok(())
    }

    /// Releases the claims a process does not know of: all of them, or none if it knows all.
    async fn give_back(&mut self, process: usize, knows_all: bool) -> Result<(), TestCaseError> {
        let process = self.processes[process];
        let known: Vec<Claim> = match knows_all {
            true => self.claims.iter().map(|(_, claim)| *claim).collect(),
            false => Vec::new(),
        };
        let released = ok(release_unknown(&mut self.conn, &self.schema, process, &known).await)?;
        let released: BTreeSet<JobId> = released.into_iter().collect();
        if knows_all {
            prop_assert!(released.is_empty());
        } else {
            prop_assert_eq!(released, self.forget_claims_of(process));
        }
        Ok(())
    }

    fn forget_claims_of(&mut self, process: ProcessId) -> BTreeSet<JobId> {
        let gone: Vec<usize> = self
            .open
            .iter()
            .copied()
            .filter(|which| self.claims[*which].0 == process)
            .collect();
        gone.iter()
            .map(|which| {
                self.open.remove(which);
                self.claims[*which].1.job_id()
            })
            .collect()
    }

    fn pick(&self, job: usize) -> Vec<JobId> {
        match self.jobs.len() {
            0 => Vec::new(),
            // Two at once; often the step does not apply to the state of one of them.
            jobs => vec![self.jobs[job % jobs], self.jobs[(job / 7) % jobs]],
        }
    }

    async fn places(&mut self) -> Result<Places, TestCaseError> {
        let rows: Vec<(i64, String, i32, String)> = ok(sqlx::query_as(
            "select job_id, 'scheduled', attempt, scheduled::text from queue.scheduled
             union all select job_id, 'ready', attempt, ready::text from queue.ready
             union all select job_id, 'blocked', attempt, blocked::text from queue.blocked
             union all select job_id, 'claimed', attempt, claimed::text from queue.claimed
             union all select job_id, 'failed', attempt, failed::text from queue.failed
             union all select job_id, 'finished', attempt, finished::text from queue.finished",
        )
        .fetch_all(&mut self.conn)
        .await)?;
        Ok(rows
            .into_iter()
            .map(|(id, place, attempt, row)| {
                (
                    id,
                    Place {
                        place,
                        attempt,
                        row,
                    },
                )
            })
            .collect())
    }
}

/// The state of each job.
type Places = BTreeMap<i64, Place>;

#[derive(Clone, Debug, PartialEq)]
struct Place {
    place: String,
    attempt: i32,
    row: String,
}

fn lane(track: Track) -> Lane {
    Lane {
        queue: "default".to_owned(),
        priority: 0,
        track,
        above: 0,
        up_to: i64::MAX,
    }
}

async fn end_run(
    conn: &mut PgConnection,
    schema: &Schema,
    process: ProcessId,
    claim: Claim,
    how: Option<&End>,
) -> Result<Vec<JobId>, sqlx::Error> {
    let run = Run {
        claim,
        ran: Duration::from_millis(1),
    };
    let Some(how) = how else {
        return finish(conn, schema, process, &[run]).await;
    };
    let ended = end(conn, schema, process, "p", &[(run, how)]).await?;
    Ok(ended.into_iter().map(|(job, _)| job).collect())
}

fn error() -> AttemptError {
    AttemptError {
        ending: Ending::Error,
        message: "no".to_owned(),
        backtrace: None,
    }
}

/// Compares the states of jobs before and after a step.
fn check_progress(step: &Step, before: &Places, after: &Places) -> Result<(), TestCaseError> {
    for (job, old) in before {
        let Some(new) = after.get(job) else {
            let may_go = match step {
                Step::ClearFinished => old.place == "finished",
                Step::ClearFailed => old.place == "failed",
                _ => false,
            };
            prop_assert!(may_go, "job {job} was lost");
            continue;
        };
        prop_assert!(new.attempt >= old.attempt, "job {job} went back an attempt");
        if old.place == "finished" {
            prop_assert_eq!(old, new, "job {} left finished", job);
        }
    }
    Ok(())
}

/// Checks that no key gained slots beyond its limit in a step.
fn check_slots(
    before: &BTreeMap<String, (i64, i64)>,
    after: &BTreeMap<String, (i64, i64)>,
) -> Result<(), TestCaseError> {
    for (key, (used, allowed)) in after {
        let used_before = before.get(key).map_or(0, |(used, _)| *used);
        prop_assert!(
            used <= allowed || *used <= used_before,
            "{used} slots of {key} are in use, and {allowed} allowed"
        );
    }
    Ok(())
}

/// Finds jobs that hold the same unique key at the same time. Applies to keys without a period;
/// replaced jobs are exempt.
const RIVALS: &str = "with places as (
        select job_id, 1 as bit from queue.scheduled
        union all select job_id, 2 from queue.ready
        union all select job_id, 4 from queue.claimed
        union all select job_id, 8 from queue.blocked
        union all select job_id, 16 from queue.failed
        union all select job_id, 32 from queue.finished where outcome <> 'cancelled'
    )
    select format('jobs %s are rivals', string_agg(id::text, ' and '))
    from queue.jobs
    join places on job_id = id
    where unique_states & bit <> 0 and unique_states & 4 <> 0
    group by unique_key
    having count(*) > 1";

/// Finds ready jobs of fair queues that are not in the lane of their tenant. Jobs that an operator ran in spite
/// of their limits are left out.
const UNFAIR: &str = "select format('job %s does not wait for its turn', job_id)
    from queue.ready
    join queue.jobs on jobs.id = job_id
    where jobs.tenant is not null
        and ready.tenant is null
        and not exists (select from queue.bypasses where bypasses.job_id = ready.job_id)";

async fn play(world: &World, steps: &[Step]) -> Result<(), TestCaseError> {
    let tables = "queue.jobs, queue.scheduled, queue.ready, queue.claimed, queue.failed,
        queue.finished, queue.attempts, queue.unique_keys, queue.processes, queue.idle_processes,
        queue.blocked, queue.slots, queue.rates, queue.limits, queue.bypasses";
    world.sql(&format!("truncate {tables}")).await;
    let mut actor = Actor::new(world).await;
    let keys_run_out = steps
        .iter()
        .any(|step| matches!(step, Step::Enqueue { within: true, .. }));
    let mut before = Places::new();
    let mut slots_before = BTreeMap::new();
    for step in steps {
        actor.take(step).await?;
        let after = actor.places().await?;
        check_progress(step, &before, &after)?;
        let slots = actor.slots().await?;
        check_slots(&slots_before, &slots)?;
        slots_before = slots;
        for job in &actor.asked {
            let place = after.get(&job.0).map(|now| now.place.as_str());
            let waits = matches!(place, Some("ready" | "scheduled" | "blocked"));
            prop_assert!(
                !waits,
                "job {job} is to run again although it was asked to stop"
            );
        }
        let found = ok(problems(world.pool()).await)?;
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
        let unfair = ok(sqlx::query_scalar::<_, String>(UNFAIR)
            .fetch_all(world.pool())
            .await)?;
        prop_assert!(unfair.is_empty(), "{}", unfair.join("\n"));
        if !keys_run_out {
            let rivals = sqlx::query_scalar::<_, String>(RIVALS);
            let rivals = ok(rivals.fetch_all(world.pool()).await)?;
            prop_assert!(rivals.is_empty(), "{}", rivals.join("\n"));
        }
        before = after;
    }
    Ok(())
}

fn ok<T, E: std::error::Error>(result: Result<T, E>) -> Result<T, TestCaseError> {
    result.map_err(|error| {
        let cause = error.source().map(ToString::to_string);
        TestCaseError::fail(format!("{error}: {}", cause.unwrap_or_default()))
    })
}

/// Runs as many cases as `PROPTEST_CASES` says, by default few enough for every run of the suite.
fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok();
    Config {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(48),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn sequences_of_transitions_lose_or_double_no_job() {
    let runtime = runtime();
    let world = runtime.block_on(World::new());
    let steps = proptest::collection::vec(step(), 1..40);

    let played =
        TestRunner::new(config()).run(&steps, |steps| runtime.block_on(play(&world, &steps)));

    let _inside = runtime.enter();
    drop(world);
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// The number of transitions that each concurrent actor carries out.
const STEPS_AT_ONCE: usize = 400;

/// Carries out steps while other actors change the same jobs, and returns how many runs this actor
/// ended. A recovery may take an actor's claims away, so only errors are checked here.
async fn act(mut actor: Actor, steps: Vec<Step>) -> usize {
    let mut ended = 0;
    for step in &steps {
        let taken = match step {
            Step::End { claim, by, how } => {
                let tried = actor.try_to_end(*claim, *by, how.as_ref()).await;
                tried.map(|count| ended += count)
            }
            Step::Die { process } => actor.try_to_die(*process).await,
            // It would also pick jobs of other actors.
            Step::ReleaseUnknown { .. } => Ok(()),
            step => actor.take(step).await,
        };
        if let Err(problem) = taken {
            panic!("{step:?}: {problem}");
        }
    }
    ended
}

impl Actor {
    async fn try_to_end(
        &mut self,
        which: usize,
        by: Option<usize>,
        how: Option<&End>,
    ) -> Result<usize, TestCaseError> {
        // One of the latest claims, which most likely has not ended.
        let latest = self.claims.len().saturating_sub(8);
        let Some((owner, claim)) = self.claims[latest..].iter().cycle().nth(which % 8) else {
            return Ok(0);
        };
        let (owner, claim) = (*owner, *claim);
        let process = by.map_or(owner, |by| self.processes[by]);
        let ended = ok(end_run(&mut self.conn, &self.schema, process, claim, how).await)?;
        Ok(ended.len())
    }

    async fn try_to_die(&mut self, process: usize) -> Result<(), TestCaseError> {
        let silence = "update queue.processes
            set heartbeat_at = clock_timestamp() - interval '1 hour' where id = $1";
        let dead = self.processes[process].0;
        ok(sqlx::query(silence)
            .bind(dead)
            .execute(&mut self.conn)
            .await)?;
        ok(recover(&mut self.conn, &self.schema, Duration::from_secs(600), true).await)?;
        self.processes[process] = ok(self.register().await)?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transitions_lose_or_double_no_job_and_do_not_deadlock() {
    let world = World::new().await;
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::collection::vec(step(), STEPS_AT_ONCE);

    let mut acting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        // Ids are given out in order, so each actor knows the ids of all jobs.
        let mut actor = Actor::new(&world).await;
        actor.jobs = (1..1_000).map(JobId).collect();
        acting.spawn(act(actor, steps));
    }
    let mut ended = 0;
    while let Some(acted) = acting.join_next().await {
        ended += acted.expect("no transition should fail");
    }

    // The exact number depends on timing.
    assert!(ended > 50, "only {ended} runs were ended");
    // No limit of this test was ever higher.
    assert_eq!(world.count("slots where number > 3").await, 0);
    let found = problems(world.pool()).await.expect("answers");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
