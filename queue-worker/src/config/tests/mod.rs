//! Configurations as people write them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use queue_core::recurring::{Missed, Overlap};
use queue_core::schedule::Tz;
use serde_json::json;
use tempfile::TempDir;

use super::*;

mod problems;
mod variables;

/// A `queue.toml` in a folder, variables and flags.
struct Sources {
    folder: TempDir,
    overrides: Vec<Override>,
}

impl Sources {
    fn with(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.toml");
        fs::write(&path, file).unwrap();
        let overrides = vec![Override::flag("--config", "QUEUE_CONFIG", path)];
        Self { folder, overrides }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.overrides.push(Override::variable(name, value));
        self
    }

    fn flag(mut self, name: &str, variable: &str, value: &str) -> Self {
        self.overrides.push(Override::flag(name, variable, value));
        self
    }

    fn load(&self) -> Result<Config, InvalidConfig> {
        Config::load(&self.overrides)
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the problems, without the folder in their places.
    fn problems(&self) -> String {
        let folder = format!("{}/", self.folder.path().display());
        self.load().unwrap_err().to_string().replace(&folder, "")
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let sources = Sources::with("");
    let config = sources.config();
    assert_eq!(config.settings, Settings::default());
    assert_eq!(config.database.schema, "queue");
    assert_eq!(config.database.url, None);
    assert_eq!(config.file, Some(sources.folder.path().join("queue.toml")));
}

#[test]
fn a_whole_file_is_read() {
    let config = Sources::with(
        r#"
            [[workers]]
            queues = ["mail", "reports*", "*"]
            concurrency = 20
            poll_interval = "250ms"

            [[workers]]
            queues = "slow"

            [dispatcher]
            enabled = false
            poll_interval = "2s"
            batch_size = 500

            [scheduler]
            enabled = false
            poll_interval = "3s"
            time_zone = "Europe/Berlin"
            source = "app"

            [process]
            name = "one"
            heartbeat_interval = "2s"
            dead_after = "6s"
            shutdown_timeout = "1m"
            cancel_grace = "0s"
            notifications = false

            [maintenance]
            interval = "5m"
            batch_size = 100

            [retention]
            finished = "forever"
            failed = "30d"
            firings = "90d"
            audit = "400d"
            queues."mail" = "7d"
            kinds.send_welcome = "1h"
            kinds.audit = "forever"

            [log]
            user = true

            [redact]
            fields = ["pin"]
            kinds.send = ["user.email"]

            [limits]
            "@queue/mail" = { to = 10, rate = "100/1m", burst = 20 }
            import = { to = 0 }

            [queues.reports]
            fair = true

            [handlers.send]
            command = ["./send", "--flag"]
            timeout = "30s"
            queue = "mail"
            attempts = 8
            backoff = { list = ["1s", "1m"] }
            env = { LANG = "C" }
            cwd = "scripts"

            [handlers.notify]
            http = "https://example.com/hook"
            headers = { Authorization = "Bearer x" }
            backoff = "polynomial"

            [database]
            url = "postgres://localhost/app"
            schema = "jobs"
        "#,
    )
    .config();

    assert_eq!(
        config.settings,
        Settings {
            workers: vec![
                WorkerSettings {
                    queues: "mail,reports*,*".parse().unwrap(),
                    concurrency: 20,
                    poll_interval: Duration::from_millis(250),
                },
                WorkerSettings {
                    queues: "slow".parse().unwrap(),
                    ..WorkerSettings::default()
                },
            ],
            dispatcher: DispatcherSettings {
                enabled: false,
                poll_interval: seconds(2),
                batch_size: 500,
            },
            scheduler: SchedulerSettings {
                enabled: false,
                poll_interval: seconds(3),
                time_zone: Tz::Europe__Berlin,
                source: Some("app".to_owned()),
            },
            process: ProcessSettings {
                name: Some("one".to_owned()),
                heartbeat_interval: seconds(2),
                dead_after: seconds(6),
                shutdown_timeout: seconds(60),
                cancel_grace: Duration::ZERO,
                notifications: false,
                keep_logs: false,
                port: None,
                listen_url: None,
            },
            maintenance: MaintenanceSettings {
                enabled: true,
                interval: seconds(300),
                batch_size: 100,
            },
            retention: Retention {
                finished: None,
                failed: Some(seconds(30 * 86_400)),
                firings: Some(seconds(90 * 86_400)),
                events: Some(seconds(7 * 86_400)),
                audit: Some(seconds(400 * 86_400)),
                queues: BTreeMap::from([("mail".to_owned(), KeepFor::For(seconds(7 * 86_400)))]),
                kinds: BTreeMap::from([
                    ("send_welcome".to_owned(), KeepFor::For(seconds(3600))),
                    ("audit".to_owned(), KeepFor::Forever),
                ]),
            },
            log: LogSettings { user: true },
            redact: RedactSettings {
                fields: vec!["pin".to_owned()],
                kinds: BTreeMap::from([("send".to_owned(), vec!["user.email".to_owned()])]),
            },
            limits: BTreeMap::from([
                (
                    "@queue/mail".to_owned(),
                    LimitSetting {
                        to: Some(10),
                        rate: Some(Rate {
                            starts: 100,
                            period: seconds(60),
                            burst: 20,
                        }),
                    },
                ),
                (
                    "import".to_owned(),
                    LimitSetting {
                        to: Some(0),
                        rate: None,
                    },
                ),
            ]),
            queues: BTreeMap::from([("reports".to_owned(), QueueSettings { fair: true })]),
        }
    );
    assert_eq!(
        config.handlers["send"],
        HandlerSettings {
            run: HandlerRun::Command(CommandHandler {
                program: "./send".to_owned(),
                arguments: vec!["--flag".to_owned()],
                env: BTreeMap::from([("LANG".to_owned(), "C".to_owned())]),
                cwd: Some(PathBuf::from("scripts")),
            }),
            timeout: Some(seconds(30)),
            queue: Some("mail".to_owned()),
            attempts: Some(8),
            backoff: Some(BackoffSettings::List(vec![seconds(1), seconds(60)])),
        }
    );
    let HandlerRun::Http(http) = &config.handlers["notify"].run else {
        panic!("an `http` handler calls an endpoint");
    };
    assert_eq!(http.url, "https://example.com/hook");
    assert_eq!(http.headers["Authorization"], "Bearer x");
    assert_eq!(
        config.handlers["notify"].backoff,
        Some(BackoffSettings::Polynomial)
    );
    assert_eq!(
        config.database.url.as_deref(),
        Some("postgres://localhost/app")
    );
    assert_eq!(config.database.schema, "jobs");
}

#[test]
fn a_recurring_job_has_a_kind_or_a_handler_of_its_own() {
    let config = Sources::with(
        r#"
            [recurring.report]
            schedule = "every weekday at 9am"
            zone = "Europe/Berlin"
            kind = "send_report"
            args = { to = ["ada", "bob"], pages = 3 }
            queue = "reports"
            priority = -5
            attempts = 2
            crashes = 1
            tags = ["nightly"]
            missed = "all"
            missed_max = 5
            overlap = "skip"
            jitter = "30s"

            [recurring.tidy]
            schedule = "0 3 * * *"
            command = ["./tidy"]
            queue = "slow"
            timeout = "1h"
        "#,
    )
    .config();

    assert_eq!(
        config.recurring["report"],
        RecurringSettings {
            schedule: "every weekday at 9am".to_owned(),
            zone: Some(Tz::Europe__Berlin),
            kind: "send_report".to_owned(),
            args: json!({"to": ["ada", "bob"], "pages": 3}),
            queue: Some("reports".to_owned()),
            priority: Some(-5),
            attempts: Some(2),
            crashes: Some(1),
            tags: vec!["nightly".to_owned()],
            missed: Missed::All,
            missed_max: Some(5),
            overlap: Overlap::Skip,
            jitter: seconds(30),
        }
    );
    assert_eq!(config.recurring["tidy"].kind, "tidy");
    assert_eq!(config.recurring["tidy"].queue.as_deref(), Some("slow"));
    assert_eq!(config.handlers["tidy"].timeout, Some(seconds(3600)));
    assert!(!config.handlers.contains_key("report"));
}

#[test]
fn without_a_file_the_defaults_apply() {
    let config = Config::load(&[]).unwrap();
    assert_eq!(config.file, None);
    assert_eq!(config.settings, Settings::default());
}

#[test]
fn a_named_file_must_exist() {
    let flag = Override::flag("--config", "QUEUE_CONFIG", "/nowhere/queue.toml");
    assert_eq!(
        Config::load(&[flag]).unwrap_err().to_string(),
        "the configuration has a problem:\n  \
         --config: could not read `/nowhere/queue.toml`: No such file or directory (os error 2)"
    );
    let variable = Override::variable("QUEUE_CONFIG", "/nowhere/other.toml");
    assert_eq!(
        Config::load(&[variable]).unwrap_err().to_string(),
        "the configuration has a problem:\n  \
         QUEUE_CONFIG: could not read `/nowhere/other.toml`: No such file or directory (os error 2)"
    );
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let config = Sources::with(
        "[handlers.a]\nhttp = \"https://u:hidden@x.example/?key=hidden\"\nheaders.Authorization = \"hidden\"\n\
         [handlers.b]\ncommand = [\"x\"]\nenv.TOKEN = \"hidden\"",
    )
    .variable("DATABASE_URL", "postgres://u:hidden@localhost/app")
    .config();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(
        shown.contains("Authorization") && shown.contains("TOKEN"),
        "{shown}"
    );
}

#[test]
fn arguments_are_read_as_the_equivalent_json() {
    let config = Sources::with(
        "[recurring.a]\nschedule = \"every minute\"\nkind = \"a\"\n\
         args = { a = 0x10, b = [1.5, true, 'x'], c.d = 2030-01-31 }",
    )
    .config();
    let expected = json!({"a": 16, "b": [1.5, true, "x"], "c": {"d": "2030-01-31"}});
    assert_eq!(config.recurring["a"].args, expected);
}

#[test]
fn a_shard_has_what_the_database_has_unless_it_says_otherwise() {
    let config = Sources::with(
        r#"[database]
url = "postgres://db/app"
schema = "jobs"

[shards.eu]
url = "postgres://eu/app"
listen_url = "postgres://eu-direct/app"

[shards.us]
schema = "us"

[shards.asia]
"#,
    )
    .flag("--shards", "QUEUE_SHARDS", "us, eu,us")
    .config();
    assert_eq!(config.used_shards(), ["eu", "us"]);
    let place = |name| {
        let config = config.of_shard(name).unwrap();
        let listen_url = config.settings.process.listen_url;
        let DatabaseSettings { url, schema, .. } = config.database;
        (url.unwrap(), schema, listen_url.map(|url| url.0))
    };
    let text = str::to_owned;
    let direct = Some(text("postgres://eu-direct/app"));
    assert_eq!(
        place("eu"),
        (text("postgres://eu/app"), text("jobs"), direct)
    );
    assert_eq!(place("us"), (text("postgres://db/app"), text("us"), None));
    assert_eq!(
        place("asia"),
        (text("postgres://db/app"), text("jobs"), None)
    );
    assert!(config.of_shard("africa").is_none());
}
