//! Arguments: what is accepted can be stored, and is read as it was written.

use queue_core::migrate::migrate;
use queue_core::{EnqueueError, NewJob, Options, Queue};
use queue_tests::world::{Seen, World, eventually, worker};
use queue_worker::{App, BoxError, Cx, Job, Perform, Process, Stop};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgPool;

#[derive(Serialize, Deserialize)]
struct Measured {
    x: f64,
}

impl Job for Measured {
    const KIND: &'static str = "measured";
}

impl Perform<Seen<u64>> for Measured {
    type Error = std::io::Error;

    async fn perform(self, cx: Cx<Seen<u64>>) -> Result<(), std::io::Error> {
        cx.state().lock().unwrap().push(self.x.to_bits());
        Ok(())
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[tokio::test]
async fn doubles_are_read_with_the_same_bits() {
    let world = World::new().await;
    let mut doubles: Vec<f64> = (0..200).map(|n| 1.0 + f64::from(n) / 11.0).collect();
    doubles.extend([f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.1 + 0.2, 5e-324]);
    let seen = Seen::default();
    let jobs = doubles.iter().map(|&x| Measured { x });
    world.queue.enqueue_many(jobs).await.unwrap();

    let app = App::new(Seen::clone(&seen)).register::<Measured>();
    let process = world.start(app, worker("*", 1));
    world
        .until("finished where outcome = 'done'", doubles.len() as i64)
        .await;
    process.stop().await;

    let mut expected: Vec<u64> = doubles.iter().map(|x| x.to_bits()).collect();
    let mut seen = seen.lock().unwrap().clone();
    expected.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_number_that_is_not_one_is_refused_with_its_field() {
    let world = World::new().await;

    let refused = world.queue.enqueue(Measured { x: f64::NAN }).await;

    let Err(error @ EnqueueError::Unreadable { .. }) = refused else {
        panic!("{refused:?}");
    };
    let said = "the arguments of `measured` do not fit its type: `x`";
    assert_eq!(error.to_string(), said);
    assert_eq!(world.count("jobs").await, 0);
}

#[tokio::test]
async fn raw_arguments_are_stored_with_the_same_digits() {
    let world = World::new().await;
    let args = raw(r#"{"n": 99999999999999999999, "x": 99999999999999999.99}"#);

    let job = NewJob::untyped("k", &*args, Options::new());
    world.queue.enqueue_all([job]).await.unwrap();

    let stored: String = world.value("select args::text from queue.jobs").await;
    assert_eq!(
        stored,
        r#"{"n": 99999999999999999999, "x": 99999999999999999.99}"#
    );
}

#[tokio::test]
async fn arguments_that_postgres_refuses_leave_the_transaction_of_the_caller_usable() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();

    for json in [
        r#""\ud800""#,
        "[1e131072]",
        r#"{"a": "\u0000"}"#,
        "1e-16384",
    ] {
        let job = NewJob::untyped("k", &*raw(json), Options::new());
        let refused = world.queue.enqueue_all([job]).tx(&mut tx).await;
        assert!(
            matches!(refused, Err(EnqueueError::Unstorable { .. })),
            "{json}"
        );
    }
    for json in [r#""\ud83d\ude00""#, "[1e131071]", "1e-16383"] {
        let job = NewJob::untyped("k", &*raw(json), Options::new());
        world.queue.enqueue_all([job]).tx(&mut tx).await.unwrap();
    }
    tx.commit().await.unwrap();

    assert_eq!(world.count("jobs").await, 3);
}

/// Runs a test in a database whose encoding is LATIN1, with a process of an application.
async fn in_latin1<S: Send + Sync + 'static>(app: App<S>, test: impl AsyncFnOnce(Queue)) {
    let world = World::new().await;
    let name = world.create_latin1_database().await;
    let options = world.connect_options().database(&name);
    let pool = PgPool::connect_with(options).await.unwrap();
    let queue = Queue::new(pool.clone());
    migrate(&mut pool.acquire().await.unwrap(), queue.schema())
        .await
        .unwrap();
    let process = Process::new(queue.clone(), app, worker("*", 1)).unwrap();
    let stop = Stop::new();
    let running = tokio::spawn(process.run(stop.clone()));

    test(queue).await;

    stop.gracefully();
    running.await.unwrap();
    pool.close().await;
    world.sql(&format!("drop database {name}")).await;
}

#[tokio::test]
async fn ascii_jobs_work_in_a_database_without_utf8() {
    let seen = Seen::default();
    let app = App::new(Seen::clone(&seen)).register::<Measured>();
    in_latin1(app, async |queue| {
        queue.enqueue(Measured { x: 0.5 }).await.unwrap();
        eventually("the job has run", async || seen.lock().unwrap().len() == 1).await;
    })
    .await;
}

/// Fails with a text that LATIN1 lacks.
#[derive(Serialize, Deserialize)]
struct Quoting;

impl Job for Quoting {
    const KIND: &'static str = "quoting";
}

impl Perform<()> for Quoting {
    type Error = BoxError;

    async fn perform(self, _cx: Cx<()>) -> Result<(), BoxError> {
        Err("it\u{2019}s broken".into())
    }
}

#[tokio::test]
async fn an_error_whose_text_the_encoding_lacks_is_retried_with_its_text_replaced() {
    let app = App::new(()).register::<Quoting>();
    in_latin1(app, async |queue| {
        queue.enqueue(Quoting).await.unwrap();
        let retried = "select count(*) from queue.scheduled join queue.attempts using (job_id)
            where error = 'it?s broken'";
        eventually("the job is retried", async || {
            let count: i64 = sqlx::query_scalar(retried)
                .fetch_one(queue.pool())
                .await
                .unwrap();
            count == 1
        })
        .await;
    })
    .await;
}
