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
            queues."mail" = "7d"
            kinds.send_welcome = "1h"
            kinds.audit = "forever"

            [limits]
            "@queue/mail" = { to = 10, rate = "100/1m", burst = 20 }
            import = { to = 0 }

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
                queues: BTreeMap::from([("mail".to_owned(), KeepFor::For(seconds(7 * 86_400)))]),
                kinds: BTreeMap::from([
                    ("send_welcome".to_owned(), KeepFor::For(seconds(3600))),
                    ("audit".to_owned(), KeepFor::Forever),
                ]),
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
fn flags_override_the_environment_which_overrides_the_file() {
    let sources = Sources::with(
        "[process]\nshutdown_timeout = \"1s\"\ncancel_grace = \"1s\"\nname = \"file\"",
    )
    .variable("QUEUE_SHUTDOWN_TIMEOUT", "2s")
    .variable("QUEUE_CANCEL_GRACE", "2s")
    .flag("--shutdown-timeout", "QUEUE_SHUTDOWN_TIMEOUT", "3s");

    let process = sources.config().settings.process;

    assert_eq!(process.shutdown_timeout, seconds(3));
    assert_eq!(process.cancel_grace, seconds(2));
    assert_eq!(process.name.as_deref(), Some("file"));
}

#[test]
fn every_scalar_can_be_set_by_its_variable() {
    let config = Sources::with("")
        .variable("DATABASE_URL", "postgresql:///app")
        .variable("QUEUE_SCHEMA", "jobs")
        .variable("QUEUE_DISPATCHER", "off")
        .variable("QUEUE_DISPATCHER_POLL_INTERVAL", "2s")
        .variable("QUEUE_DISPATCHER_BATCH_SIZE", "3")
        .variable("QUEUE_PROCESS_NAME", "one")
        .variable("QUEUE_HEARTBEAT_INTERVAL", "4s")
        .variable("QUEUE_DEAD_AFTER", "50s")
        .variable("QUEUE_SHUTDOWN_TIMEOUT", "6s")
        .variable("QUEUE_CANCEL_GRACE", "7s")
        .variable("QUEUE_NOTIFICATIONS", "false")
        .variable("QUEUE_MAINTENANCE", "0")
        .variable("QUEUE_MAINTENANCE_INTERVAL", "8s")
        .variable("QUEUE_MAINTENANCE_BATCH_SIZE", "9")
        .variable("QUEUE_RETENTION_FINISHED", "forever")
        .variable("QUEUE_RETENTION_FAILED", "10s")
        .variable("QUEUE_RETENTION_FIRINGS", "forever")
        .variable("QUEUE_SCHEDULER", "off")
        .variable("QUEUE_SCHEDULER_POLL_INTERVAL", "2s")
        .variable("QUEUE_SCHEDULER_SOURCE", "app")
        .variable("QUEUE_TIME_ZONE", "Asia/Tokyo")
        .config();

    assert_eq!(config.database.url.as_deref(), Some("postgresql:///app"));
    assert_eq!(config.database.schema, "jobs");
    assert_eq!(
        config.settings,
        Settings {
            workers: vec![WorkerSettings::default()],
            dispatcher: DispatcherSettings {
                enabled: false,
                poll_interval: seconds(2),
                batch_size: 3,
            },
            scheduler: SchedulerSettings {
                enabled: false,
                poll_interval: seconds(2),
                time_zone: Tz::Asia__Tokyo,
                source: Some("app".to_owned()),
            },
            process: ProcessSettings {
                name: Some("one".to_owned()),
                heartbeat_interval: seconds(4),
                dead_after: seconds(50),
                shutdown_timeout: seconds(6),
                cancel_grace: seconds(7),
                notifications: false,
            },
            maintenance: MaintenanceSettings {
                enabled: false,
                interval: seconds(8),
                batch_size: 9
            },
            retention: Retention {
                finished: None,
                failed: Some(seconds(10)),
                firings: None,
                ..Retention::default()
            },
            limits: BTreeMap::new(),
        }
    );
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
fn queues_from_a_variable_or_flag_replace_all_workers_by_one() {
    let sources =
        Sources::with("[[workers]]\nqueues = \"a\"\nconcurrency = 7\n[[workers]]\nqueues = \"b\"")
            .variable("QUEUE_QUEUES", "c")
            .variable("QUEUE_CONCURRENCY", "3")
            .variable("QUEUE_POLL_INTERVAL", "2s")
            .flag("--queues", "QUEUE_QUEUES", "mail, reports*");

    assert_eq!(
        sources.config().settings.workers,
        [WorkerSettings {
            queues: "mail,reports*".parse().unwrap(),
            concurrency: 3,
            poll_interval: seconds(2),
        }]
    );
}

#[test]
fn concurrency_from_a_variable_needs_a_single_worker() {
    let one = Sources::with("[[workers]]\nqueues = \"a\"")
        .variable("QUEUE_CONCURRENCY", "3")
        .config();
    assert_eq!(one.settings.workers[0].concurrency, 3);
    assert_eq!(one.settings.workers[0].queues.to_string(), "a");

    let two = Sources::with("[[workers]]\nqueues = \"a\"\n[[workers]]\nqueues = \"b\"");
    assert_eq!(
        two.variable("QUEUE_CONCURRENCY", "3").problems(),
        "the configuration has a problem:\n  \
         QUEUE_CONCURRENCY: the file has 2 workers, and it is not clear which one is meant; \
         set the queues too, and one worker for them replaces those of the file"
    );
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
fn an_empty_variable_counts_as_unset() {
    let config =
        Sources::with("[database]\nurl = \"postgres:///file\"").variable("DATABASE_URL", "");
    assert_eq!(
        config.config().database.url.as_deref(),
        Some("postgres:///file")
    );
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let config = Sources::with(
        "[handlers.a]\nhttp = \"https://u:secret@x.example/?key=secret\"\nheaders.Authorization = \"secret\"\n\
         [handlers.b]\ncommand = [\"x\"]\nenv.TOKEN = \"secret\"",
    )
    .variable("DATABASE_URL", "postgres://u:secret@localhost/app")
    .config();
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(
        shown.contains("Authorization") && shown.contains("TOKEN"),
        "{shown}"
    );
}

#[test]
fn a_variable_is_parsed_as_the_type_of_its_setting() {
    for (text, is_on) in [("true", true), ("on", true), ("0", false), ("no", false)] {
        let config = Sources::with("")
            .variable("QUEUE_NOTIFICATIONS", text)
            .config();
        assert_eq!(config.settings.process.notifications, is_on, "{text}");
    }
    for (variable, text, message) in [
        (
            "QUEUE_NOTIFICATIONS",
            "maybe",
            "expected true or false, found \"maybe\"",
        ),
        (
            "QUEUE_CONCURRENCY",
            "0",
            "expected a whole number from 1 to 10000, found 0",
        ),
        (
            "QUEUE_CONCURRENCY",
            "ten",
            "expected a whole number of at least 0, found \"ten\"",
        ),
        (
            "QUEUE_POLL_INTERVAL",
            "2h",
            "expected a duration from 10ms to 1h, found 2h",
        ),
        (
            "QUEUE_POLL_INTERVAL",
            "5",
            "expected a duration like \"10s\" or \"5m\", found \"5\"",
        ),
    ] {
        let problems = Sources::with("").variable(variable, text).problems();
        let expected = format!("the configuration has a problem:\n  {variable}: {message}");
        assert_eq!(problems, expected);
    }
    let named_by_a_number = Sources::with("")
        .variable("QUEUE_PROCESS_NAME", "10")
        .config();
    assert_eq!(
        named_by_a_number.settings.process.name.as_deref(),
        Some("10")
    );
}

#[test]
fn a_misspelt_variable_is_rejected_and_those_of_other_programs_are_not() {
    let sources = Sources::with("")
        .variable("QUEUE_CONCURENCY", "3")
        .variable("QUEUE_CONFIGS", "queue.toml");
    assert_eq!(
        sources.problems(),
        "the configuration has 2 problems:\n  \
         QUEUE_CONCURENCY: unknown variable; did you mean `QUEUE_CONCURRENCY`?\n  \
         QUEUE_CONFIGS: unknown variable; did you mean `QUEUE_CONFIG`?"
    );
    let of_others = [
        "QUEUE_JOB_ID",
        "QUEUE_JOB_KIND",
        "QUEUE_JOB_QUEUE",
        "QUEUE_JOB_ATTEMPT",
        "QUEUE_JOB_ATTEMPTS_MAX",
        "QUEUE_LOG",
        "QUEUE_PG_BIN",
        "QUEUE_PORT",
        "QUEUE_PORT_80_TCP_ADDR",
        "QUEUE_SERVICE_HOST",
        "QUEUE_SERVICE_PORT",
        "QUEUE_TEST_NOTIFICATIONS",
        "QUEUE_URL",
        "DATABASE_URLS",
    ];
    let sources = of_others.iter().fold(Sources::with(""), |sources, name| {
        sources.variable(name, "x")
    });
    sources.config();
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
