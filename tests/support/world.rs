//! The world of one test: a database with the queue, processes that run inside the test, and ways to
//! wait for their effects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue_core::process::{ProcessId, ProcessInfo, register};
use queue_core::transitions::claim::{ClaimedJob, Lane, Track, claim};
use queue_core::{JobId, Queue, Schema, Shards};
use queue_worker::config::ServerUrl;
use queue_worker::{App, Process, Settings, Stop};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions, Decode, FromRow, PgPool, Type};
use tokio::task::JoinHandle;

use crate::pgbouncer::{PgBouncer, PoolMode};
use crate::postgres::{TestDatabase, database, database_on_other_server, named_database};

/// How long a test waits for a condition before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database with the queue in it.
pub struct World {
    /// The queue, on a pool of its own.
    pub queue: Queue,
    database: TestDatabase,
    pooler: Option<(PoolMode, PgBouncer)>,
    /// A second shard of all processes, on the other server, which stays empty. With `QUEUE_TEST_SHARDS=2`
    /// everything must hold for one shard of a process as it does for its only queue.
    beside: Option<TestDatabase>,
}

/// A running process, inside the test.
#[must_use = "the process should be stopped before the test ends"]
pub struct Running {
    stop: Stop,
    task: JoinHandle<()>,
    beside: Option<Queue>,
}

impl World {
    /// Creates a new world.
    pub async fn new() -> Self {
        Self::of(database().await).await
    }

    /// Creates a new world whose database has a name.
    pub async fn named(database: &str) -> Self {
        Self::of(named_database(database.to_owned()).await).await
    }

    /// Creates a world that is a second shard: on the other server, if there is one.
    pub async fn on_other_server() -> Self {
        match database_on_other_server().await {
            Some(database) => Self::of(database).await,
            None => Self::new().await,
        }
    }

    async fn of(database: TestDatabase) -> Self {
        Self {
            queue: Queue::new(database.pool()),
            pooler: pooler(&database),
            database,
            beside: database_on_other_server().await,
        }
    }

    /// Creates a new world whose queue is in another schema.
    ///
    /// # Panics
    /// When the schema cannot be created.
    pub async fn in_schema(name: &str) -> Self {
        let database = database().await;
        let queue = Queue::new(database.pool()).in_schema(name);
        let world = Self {
            queue: queue.expect("a name for a schema"),
            pooler: pooler(&database),
            database,
            beside: database_on_other_server().await,
        };
        world.sql("drop schema queue cascade").await;
        let schema = Schema::named(name).expect("a name for a schema");
        queue_core::migrate::migrate(&mut world.connect().await, &schema)
            .await
            .expect("the schema should be created");
        world
    }

    /// Returns the pool.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        self.queue.pool()
    }

    /// Returns the database's URL, for commands.
    #[must_use]
    pub fn url(&self) -> String {
        self.database.url()
    }

    /// Returns the database's URL for processes outside the test: of the pooler, if there is one.
    #[must_use]
    pub fn url_of_processes(&self) -> String {
        match &self.pooler {
            Some((_, bouncer)) => bouncer.url(&self.connect_options()),
            None => self.url(),
        }
    }

    /// Returns the queue as processes reach it: by the pooler, if there is one.
    fn queue_of_processes(&self) -> Queue {
        let Some((mode, _)) = &self.pooler else {
            return self.queue.clone();
        };
        let options: PgConnectOptions = self.url_of_processes().parse().expect("a valid URL");
        let options = options.extra_float_digits(None);
        let queue = Queue::new(PgPool::connect_lazy_with(options));
        let queue = queue.in_schema(self.queue.schema().name());
        let mut queue = queue.expect("the name of a schema");
        if let Some(keys) = self.queue.schema().keys() {
            queue = queue.encryption_keys(keys.clone());
        }
        match mode {
            PoolMode::Session => queue,
            PoolMode::Transaction => queue.transaction_pooler(),
        }
    }

    /// Returns the options to connect to the database.
    #[must_use]
    pub fn connect_options(&self) -> PgConnectOptions {
        self.database.connect_options()
    }

    /// Opens a connection for the test.
    ///
    /// # Panics
    /// When the database fails.
    pub async fn connect(&self) -> PgConnection {
        let connecting = self.database.connect_options().connect().await;
        connecting.expect("a connection to the test's database")
    }

    /// Starts a process.
    ///
    /// # Panics
    /// When the application or the settings are wrong.
    pub fn start<S: Send + Sync + 'static>(&self, app: App<S>, mut settings: Settings) -> Running {
        if let Some((PoolMode::Transaction, _)) = self.pooler {
            settings.process.listen_url = Some(ServerUrl(self.url()));
        }
        let queue = self.queue_of_processes();
        let beside = self.beside.as_ref().map(|beside| Queue::new(beside.pool()));
        let process = match &beside {
            None => Process::new(queue, app, settings),
            Some(beside) => {
                // A process divides it among its shards.
                for worker in &mut settings.workers {
                    worker.concurrency *= 2;
                }
                // By these names, the recurring job `tick` of the core of the suite is on the first.
                let shards = Shards::new([("own", queue), ("beside", beside.clone())]);
                let shards = shards.expect("valid shards");
                Process::of_shards(&shards, ["own", "beside"], app, settings)
            }
        };
        let process = process.expect("a valid process");
        let stop = Stop::new();
        let task = tokio::spawn(process.run(stop.clone()));
        Running { stop, task, beside }
    }

    /// Creates an empty database beside this one, whose encoding is LATIN1, and returns its name.
    pub async fn create_latin1_database(&self) -> String {
        let name: String = self
            .value("select current_database()::text || '_latin1'")
            .await;
        let options = "template template0 encoding 'LATIN1' locale 'C'";
        self.sql(&format!("create database {name} {options}")).await;
        name
    }

    /// Executes a statement, and returns how many rows it affected.
    ///
    /// # Panics
    /// When the statement fails.
    pub async fn sql(&self, statement: &str) -> u64 {
        sqlx::query(AssertSqlSafe(statement.to_owned()))
            .execute(self.pool())
            .await
            .expect("a valid statement")
            .rows_affected()
    }

    /// Returns the one value of a query.
    ///
    /// # Panics
    /// When it returns no row, or a value of another type.
    pub async fn value<T>(&self, query: &str) -> T
    where
        T: for<'r> Decode<'r, Postgres> + Type<Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.pool())
            .await
            .expect("a query that returns a value")
    }

    /// Returns the rows of a query.
    ///
    /// # Panics
    /// When they have other columns.
    pub async fn rows<T>(&self, query: &str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        sqlx::query_as(AssertSqlSafe(query.to_owned()))
            .fetch_all(self.pool())
            .await
            .expect("a query that returns such rows")
    }

    /// Returns the state of a job, which is the table of its narrow row, or `gone` if it has none.
    ///
    /// # Panics
    /// When it is in several tables.
    pub async fn state(&self, job: JobId) -> String {
        let schema = self.queue.schema().name();
        let tables = [
            "scheduled",
            "ready",
            "blocked",
            "claimed",
            "failed",
            "finished",
        ];
        let found: Vec<String> = tables
            .iter()
            .map(|table| {
                format!("select '{table}' as state from {schema}.{table} where job_id = {job}")
            })
            .collect();
        let states: Vec<(String,)> = self.rows(&found.join(" union all ")).await;
        assert!(states.len() <= 1, "job {job} is in {states:?}");
        let state = states.into_iter().next();
        state.map_or_else(|| "gone".to_owned(), |(state,)| state)
    }

    /// Waits until a job is in a state.
    ///
    /// # Panics
    /// When it does not get there.
    pub async fn until_state(&self, job: JobId, state: &str) {
        let what = format!("job {job} is {state}");
        eventually(&what, async || self.state(job).await == state).await;
    }

    /// Makes all scheduled jobs due.
    pub async fn make_scheduled_due(&self) {
        let schema = self.queue.schema().name();
        self.sql(&format!(
            "update {schema}.scheduled set due_at = clock_timestamp() - interval '1 second'"
        ))
        .await;
    }

    /// Counts rows: `count("ready where queue = 'mail'")`.
    ///
    /// # Panics
    /// When the statement fails.
    pub async fn count(&self, of: &str) -> i64 {
        let schema = self.queue.schema().name();
        self.value(&format!("select count(*) from {schema}.{of}"))
            .await
    }

    /// Claims all ready jobs of a kind and a queue for a new process that runs none of them.
    ///
    /// # Panics
    /// Panics when the database returns an error.
    pub async fn claim(&self, queue: &str, kind: &str) -> (ProcessId, Vec<ClaimedJob>) {
        let mut conn = self.connect().await;
        let schema = self.queue.schema();
        let (process, info) = (ProcessId::new(), ProcessInfo::default());
        let registered = register(&mut conn, schema, process, &info).await;
        registered.expect("a row of a process");
        let lane = Lane {
            queue: queue.to_owned(),
            priority: 0,
            track: Track::Open,
            above: 0,
            up_to: i64::MAX,
        };
        let kinds = [kind.to_owned()];
        let claimed = claim(&mut conn, schema, process, &[lane], &kinds, 1_000).await;
        (process, claimed.expect("claimed jobs"))
    }

    /// Gives all claims to another live process, which does not let them be recovered, as if their own had
    /// been declared dead.
    pub async fn take_away_claims(&self) {
        self.sql(
            "insert into queue.processes (id, pid, name, host, version, details)
             values (gen_random_uuid(), 1, 'heir', 'here', '1', '{}')",
        )
        .await;
        let taken = self
            .sql(
                "update queue.claimed set attempt = attempt + 1, process_id = (
                    select id from queue.processes where name = 'heir' limit 1
                 )",
            )
            .await;
        assert!(taken > 0, "no job is claimed");
    }

    /// Waits until every job is finished or failed. Asks in one statement, since a job may move between
    /// two.
    ///
    /// # Panics
    /// When it does not happen.
    pub async fn until_all_ended(&self) {
        let schema = self.queue.schema().name();
        let unended = format!(
            "jobs where id not in (
                select job_id from {schema}.finished union all select job_id from {schema}.failed)"
        );
        self.until(&unended, 0).await;
    }

    /// Waits until there are this many rows.
    ///
    /// # Panics
    /// When it does not happen.
    pub async fn until(&self, of: &str, count: i64) {
        let mut seen = -1;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            seen = self.count(of).await;
            if seen == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited for {count} rows in {of}, and saw {seen}");
    }

    /// Waits until a process has looked for the tables.
    ///
    /// # Panics
    /// When none does.
    pub async fn until_looked_for_tables(&self) {
        // Behind a pooler in transaction mode, the look is a transaction.
        let looked = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name like 'queue %' and query ~* 'migrations|^commit'";
        eventually("a process has looked for the tables", async || {
            self.value::<i64>(looked).await > 0
        })
        .await;
    }
}

impl Running {
    /// Stops the process as TERM does, and waits for its end.
    ///
    /// # Panics
    /// When the process panicked or does not end.
    pub async fn stop(self) {
        self.stop.gracefully();
        self.ended().await;
    }

    /// Stops the process as QUIT does, and waits for its end.
    ///
    /// # Panics
    /// When the process panicked or does not end.
    pub async fn stop_at_once(self) {
        self.stop.at_once();
        self.ended().await;
    }

    /// Asks the process to stop as TERM does, and returns at once.
    pub fn ask_to_stop(&self) {
        self.stop.gracefully();
    }

    /// Waits for the end of a process that was asked to stop.
    ///
    /// # Panics
    /// When the process panicked or does not end.
    pub async fn ended(self) {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the process should end")
            .expect("the process should not panic");
        if let Some(beside) = self.beside {
            let empty = "select not exists (select from queue.jobs)
                and not exists (select from queue.recurring_jobs)";
            let empty: Result<bool, _> = sqlx::query_scalar(empty).fetch_one(beside.pool()).await;
            assert!(empty.expect("a query"), "the shard beside is not empty");
        }
    }

    /// Ends the process abruptly, as KILL would.
    pub fn kill(self) {
        self.task.abort();
    }
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not within the patience of tests.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for: {what}");
}

/// Does something that must not wait for others.
///
/// # Panics
/// When it takes too long.
pub async fn promptly<T>(doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, doing)
        .await
        .expect("it should not have to wait")
}

fn pooler(database: &TestDatabase) -> Option<(PoolMode, PgBouncer)> {
    let mode = PoolMode::of_tests()?;
    let bouncer = PgBouncer::start(mode, &database.connect_options(), 40);
    Some((mode, bouncer))
}

/// Returns settings with one worker. With `QUEUE_TEST_NOTIFICATIONS=off` in the environment it only
/// polls: everything that holds with notifications must hold without them.
///
/// # Panics
/// When the list of queues is wrong.
#[must_use]
pub fn worker(queues: &str, concurrency: usize) -> Settings {
    let mut settings = Settings::default();
    settings.workers[0].queues = queues.parse().expect("a list of queues");
    settings.workers[0].concurrency = concurrency;
    settings.dispatcher.poll_interval = Duration::from_millis(50);
    if !notifications() {
        settings.process.notifications = false;
        settings.process.heartbeat_interval = Duration::from_millis(100);
        settings.workers[0].poll_interval = Duration::from_millis(50);
    }
    settings
}

/// Returns settings like those of [`worker`] for all queues, without passes over all keys of limits: a
/// blocked job goes on only because the process that freed a slot unblocks it.
#[must_use]
pub fn without_passes(concurrency: usize) -> Settings {
    let mut settings = worker("*", concurrency);
    settings.dispatcher.enabled = false;
    settings
}

/// Returns whether workers of tests use notifications; `QUEUE_TEST_NOTIFICATIONS=off` makes them poll.
#[must_use]
pub fn notifications() -> bool {
    std::env::var("QUEUE_TEST_NOTIFICATIONS").as_deref() != Ok("off")
}

/// A list that jobs write and tests read.
pub type Seen<T> = Arc<std::sync::Mutex<Vec<T>>>;
