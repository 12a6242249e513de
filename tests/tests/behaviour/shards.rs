//! Shards: each job is on one of two databases, and one that is away does not stop the other.

use std::collections::{BTreeMap, BTreeSet};

use queue_core::{
    BatchId, Context, EnqueueError, Enqueued, EnqueuedOn, Job, NewJob, Options, ShardBy, Shards,
    ShardsError, Unique,
};
use queue_tests::stage::{Note, Stage};
use queue_tests::world::{World, worker};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

/// A job that exists once for each page.
#[derive(Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) page: u32,
}

impl Job for Index {
    const KIND: &'static str = "index";
    const SHARD_BY: ShardBy = ShardBy::UniqueKey;

    fn unique(&self) -> Option<Unique> {
        Some(Unique::by_args())
    }
}

pub(crate) struct Two {
    pub(crate) eu: World,
    pub(crate) us: World,
    pub(crate) shards: Shards,
}

impl Two {
    /// Makes two shards on one server.
    async fn new() -> Self {
        Self::of(World::new().await, World::new().await)
    }

    pub(crate) fn of(eu: World, us: World) -> Self {
        let shards = [("eu", eu.queue.clone()), ("us", us.queue.clone())];
        let shards = Shards::new(shards).unwrap();
        Self { eu, us, shards }
    }

    pub(crate) fn worlds(&self) -> [&World; 2] {
        [&self.eu, &self.us]
    }

    fn world(&self, shard: &str) -> &World {
        match shard {
            "eu" => &self.eu,
            _ => &self.us,
        }
    }

    /// Returns whether the shard of an answer has this job: `jobs` with such rows.
    async fn has(&self, answer: &EnqueuedOn, rows: &str) -> bool {
        let id = answer.enqueued.id();
        assert_eq!(answer.id(), format!("{}:{id}", answer.shard));
        let found = format!("jobs where id = {id} and {rows}");
        self.world(&answer.shard).count(&found).await == 1
    }

    async fn counts(&self) -> [i64; 2] {
        [self.eu.count("jobs").await, self.us.count("jobs").await]
    }
}

fn tenant(number: usize) -> Context {
    Context::new().tenant(format!("tenant-{number}"))
}

fn note_of(number: usize) -> NewJob {
    let note = NewJob::of(&Note::new(number.to_string())).unwrap();
    note.with(|options| options.context(tenant(number)))
}

#[tokio::test]
async fn all_jobs_of_a_tenant_are_on_one_shard_however_they_are_enqueued() {
    let two = Two::new().await;
    let mut shards_of_tenants: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();

    for number in 0..12 {
        let answers = tenant(number).scope(async {
            let one = two
                .shards
                .enqueue(Note::new("a"))
                .delay(std::time::Duration::from_secs(60));
            let mut answers = vec![one.await.unwrap()];
            let many = two.shards.enqueue_many([Note::new("b"), Note::new("c")]);
            answers.extend(many.with(|options| options.priority(5)).await.unwrap());
            let by_name = NewJob::untyped("note", &json!("d"), Options::new());
            answers.extend(two.shards.enqueue_all([by_name]).await.unwrap());
            answers
        });
        for answer in answers.await {
            let rows = format!("tenant = 'tenant-{number}'");
            assert!(two.has(&answer, &rows).await, "{answer:?}");
            let shards = shards_of_tenants.entry(number).or_default();
            shards.insert(answer.shard.to_string());
        }
    }

    assert!(shards_of_tenants.values().all(|shards| shards.len() == 1));
    let used: BTreeSet<_> = shards_of_tenants.into_values().flatten().collect();
    assert_eq!(used.len(), 2);
}

#[tokio::test]
async fn the_answers_for_many_jobs_are_in_their_order() {
    let two = Two::new().await;

    let answers = two.shards.enqueue_all((0..40).map(note_of)).await.unwrap();

    assert_eq!(answers.len(), 40);
    for (number, answer) in answers.iter().enumerate() {
        let rows = format!("args = '\"{number}\"'");
        assert!(two.has(answer, &rows).await, "{number}: {answer:?}");
    }
    assert!(two.counts().await.iter().all(|count| *count > 5));
}

#[tokio::test]
async fn a_unique_key_is_taken_once_if_it_decides_on_the_shard() {
    let two = Two::new().await;

    for page in 0..10 {
        let first = two.shards.enqueue(Index { page }).await.unwrap();
        let args = RawValue::from_string(format!("{{ \"page\" : {page} }}")).unwrap();
        let by_name = NewJob::of_json::<Index>(&args).unwrap();
        let second = two.shards.enqueue_all([by_name]).await.unwrap();

        let kept = Enqueued::Kept(first.enqueued.id());
        let kept = EnqueuedOn {
            enqueued: kept,
            ..first
        };
        assert_eq!(second, [kept]);
    }

    let counts = two.counts().await;
    assert_eq!(counts.iter().sum::<i64>(), 10);
    assert!(!counts.contains(&0), "{counts:?}");
}

#[tokio::test]
async fn a_process_of_each_shard_runs_its_jobs() {
    let two = Two::new().await;
    let (in_eu, in_us) = (Stage::default(), Stage::default());
    let processes = [
        two.eu.start(in_eu.app(), worker("*", 2)),
        two.us.start(in_us.app(), worker("*", 2)),
    ];

    let answers = two.shards.enqueue_all((0..20).map(note_of)).await.unwrap();
    two.eu.until_all_ended().await;
    two.us.until_all_ended().await;
    for process in processes {
        process.stop().await;
    }

    for (number, answer) in answers.iter().enumerate() {
        let note = number.to_string();
        let expected = usize::from(&*answer.shard == "eu");
        assert_eq!(
            [in_eu.times(&note), in_us.times(&note)],
            [expected, 1 - expected]
        );
    }
}

#[tokio::test]
async fn while_a_shard_is_away_the_jobs_of_the_other_are_enqueued() {
    let two = Two::new().await;
    let name: String = two.us.value("select current_database()::text").await;
    let admit = async |is_allowed: bool| {
        let sql = format!("alter database {name} with allow_connections {is_allowed}");
        two.eu.sql(&sql).await;
    };
    admit(false).await;
    two.eu
        .sql(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        ))
        .await;

    let failed = two
        .shards
        .enqueue_all((0..20).map(note_of))
        .await
        .unwrap_err();

    let message = "could not enqueue on `us`; enqueued on `eu`";
    assert_eq!(failed.to_string(), message);
    let ShardsError::Failed {
        shard,
        source,
        others,
        answers,
    } = failed
    else {
        panic!("{failed}");
    };
    assert!(matches!(*source, EnqueueError::Database(_)), "{source}");
    assert_eq!((&*shard, others.len()), ("us", 0));
    admit(true).await;
    let missing = (0..20).zip(&answers).filter(|(_, answer)| answer.is_none());
    let again = missing.map(|(number, _)| note_of(number));
    two.shards.enqueue_all(again).await.unwrap();
    let on_eu = answers.iter().flatten().count() as i64;
    assert_eq!(two.counts().await, [on_eu, 20 - on_eu]);
}

#[tokio::test]
async fn a_job_that_is_refused_keeps_those_of_all_shards_from_being_enqueued() {
    let two = Two::new().await;
    let with = |options| note_of(20).with(|_| options);
    let refused = [
        (
            with(Options::new().queue("two words")),
            "the queue \"two words\" is refused",
        ),
        (
            with(Options::new().unique(Unique::by_key("k"))),
            "no tenant to choose that shard by",
        ),
        (
            with(Options::new().batch(BatchId(7))),
            "which is on one shard",
        ),
    ];

    for (job, reason) in refused {
        let jobs = (0..20).map(note_of).chain([job]);
        let error = two.shards.enqueue_all(jobs).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    assert_eq!(two.counts().await, [0, 0]);
}

#[tokio::test]
async fn a_transaction_is_on_the_shard_of_a_job() {
    let two = Two::new().await;

    for number in 0..10 {
        let enqueued = tenant(number).scope(async {
            let job = NewJob::of(&Note::new("in a transaction")).unwrap();
            let (shard, queue) = two.shards.shard_of(&job).await.unwrap();
            let mut tx = queue.begin().await.unwrap();
            let enqueued = queue.enqueue_all([job]).tx(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            EnqueuedOn {
                shard: shard.into(),
                enqueued: enqueued[0],
            }
        });
        let enqueued = enqueued.await;
        let on_its_own = two.shards.enqueue_all([note_of(number)]).await.unwrap();

        assert!(two.has(&enqueued, "true").await);
        assert_eq!(on_its_own[0].shard, enqueued.shard);
    }
}
