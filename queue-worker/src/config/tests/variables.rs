//! Values of the environment and of flags, over those of the file.

use super::*;

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
        .variable("QUEUE_KEEP_LOGS", "true")
        .variable("QUEUE_LOG_USER", "yes")
        .variable("QUEUE_MAINTENANCE", "0")
        .variable("QUEUE_MAINTENANCE_INTERVAL", "8s")
        .variable("QUEUE_MAINTENANCE_BATCH_SIZE", "9")
        .variable("QUEUE_RETENTION_FINISHED", "forever")
        .variable("QUEUE_RETENTION_FAILED", "10s")
        .variable("QUEUE_RETENTION_FIRINGS", "forever")
        .variable("QUEUE_RETENTION_EVENTS", "11s")
        .variable("QUEUE_RETENTION_AUDIT", "12s")
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
                keep_logs: true,
                port: None,
                listen_url: None,
            },
            maintenance: MaintenanceSettings {
                enabled: false,
                interval: seconds(8),
                batch_size: 9
            },
            redact: RedactSettings::default(),
            log: LogSettings { user: true },
            retention: Retention {
                finished: None,
                failed: Some(seconds(10)),
                firings: None,
                events: Some(seconds(11)),
                audit: Some(seconds(12)),
                ..Retention::default()
            },
            limits: BTreeMap::new(),
            queues: BTreeMap::new(),
        }
    );
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
fn an_empty_variable_counts_as_unset() {
    let config =
        Sources::with("[database]\nurl = \"postgres:///file\"").variable("DATABASE_URL", "");
    assert_eq!(
        config.config().database.url.as_deref(),
        Some("postgres:///file")
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
        "QUEUE_JOB_SHARD",
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
