//! The messages for invalid settings.

use super::*;

#[test]
fn mistakes_in_recurring_jobs_are_reported_with_their_places() {
    let sources = Sources::with(
        r#"[handlers.taken]
command = ["true"]

[recurring.taken]
schedule = "every minute"
command = ["true"]

[recurring."two words"]
schedule = "every minute"
kind = "a"

[recurring.empty]

[recurring.both]
schedule = "0 25 * * *"
kind = "a"
command = ["true"]

[recurring.wrong]
schedule = "every minute"
zone = "Berlin"
kind = "a b"
args = nan
priority = 100_000
attempts = 0
crashes = 0
tags = ["a b"]
missed = "never"
missed_max = 0
overlap = "maybe"
jitter = "2days"
timeout = "1m"
retries = 3

[scheduler]
time_zone = "Mars/Base"
"#,
    )
    .variable("QUEUE_TIME_ZONE", "Tokyo");

    assert_eq!(
        sources.problems(),
        r#"the configuration has 21 problems:
  queue.toml:4:1: recurring.taken: [handlers.taken] already defines a kind with this name
  queue.toml:8:1: recurring.two words: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:12:1: recurring.empty: a recurring job needs `kind`, `command` or `http`
  queue.toml:12:1: recurring.empty: a recurring job needs `schedule`, such as "every 5 minutes" or "0 9 * * *"
  queue.toml:15:12: recurring.both.schedule: `25` in the hour field: hours go from 0 to 23
  queue.toml:16:8: recurring.both.kind: use either `kind`, or `command` or `http`
  queue.toml:21:8: recurring.wrong.zone: unknown time zone `Berlin`; did you mean `Europe/Berlin`?
  queue.toml:22:8: recurring.wrong.kind: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:23:8: recurring.wrong.args: nan cannot be written as JSON
  queue.toml:24:12: recurring.wrong.priority: expected a whole number from -32768 to 32767, found 100000
  queue.toml:25:12: recurring.wrong.attempts: expected a whole number from 1 to 1000, found 0
  queue.toml:26:11: recurring.wrong.crashes: expected a whole number from 1 to 1000, found 0
  queue.toml:27:9: recurring.wrong.tags[0]: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:28:10: recurring.wrong.missed: unknown value `never`, expected one of `skip`, `once`, `all`
  queue.toml:29:14: recurring.wrong.missed_max: expected a whole number from 1 to 1000, found 0
  queue.toml:30:11: recurring.wrong.overlap: unknown value `maybe`, expected one of `allow`, `skip`, `queue`
  queue.toml:31:10: recurring.wrong.jitter: expected a duration from 0s to 1day, found 2days
  queue.toml:32:11: recurring.wrong.timeout: belongs to a recurring job with `command` or `http`
  queue.toml:33:1: recurring.wrong.retries: unknown key; known here: kind, command, http, env, cwd, headers, timeout, backoff, queue, attempts, zone, schedule, args, priority, crashes, tags, missed, missed_max, overlap, jitter
  queue.toml:36:13: scheduler.time_zone: unknown time zone `Mars/Base`; use a name of the IANA database, such as `Europe/Berlin`
  QUEUE_TIME_ZONE: unknown time zone `Tokyo`; did you mean `Asia/Tokyo`?"#
    );
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let sources = Sources::with(
        r#"colour = "red"

[[workers]]
queues = ["mail", "two words", "*", "late", "mail"]
concurrency = -3
poll_interval = 5
concurency = 4

[[workers]]
queues = 7

[dispatcher]
enabled = "sometimes"
batch_size = 1_000_000

[process]
heartbeat_interval = "20s"
shutdown_timeout = "soon"

[maintenance]
interval = "1ms"

[retention]
finished = true
queues."a b" = "7d"
kinds.audit = "a while"

[handlers.send]
command = []
timeout = "0s"
attempts = 0
backoff = "wild"
retries = 3

[handlers.both]
command = ["./a"]
http = "https://example.com"

[handlers.neither]
queue = "a b"

[handlers.call]
http = "ftp://example.com"
env = { A = "b" }
headers = { Queue-Job-Id = "1", "a b" = "c", Fine = 3 }
backoff = { list = ["1s", "x"], fixd = "1s" }

[database]
url = "mysql://user:secret@localhost"
schema = "My Schema"
"#,
    )
    .variable("QUEUE_CONCURRENCY", "many")
    .variable("QUEUE_QUEUES", "*,mail")
    .variable("QUEUE_NOTIFICATIONS", "perhaps")
    .flag("--poll-interval", "QUEUE_POLL_INTERVAL", "1 blink");

    assert_eq!(
        sources.problems(),
        r#"the configuration has 37 problems:
  queue.toml:1:1: colour: unknown key; known here: workers, database, shards, dispatcher, scheduler, process, maintenance, retention, redact, log, limits, queues, handlers, recurring, alerts
  queue.toml:4:19: workers[0].queues[1]: `two words` cannot name a queue: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:4:37: workers[0].queues[3]: `late` comes after `*`, which already matches every other queue; move `*` to the end
  queue.toml:4:45: workers[0].queues[4]: `mail` is in the list twice; remove one of them
  queue.toml:5:15: workers[0].concurrency: expected a whole number of at least 0, found -3
  queue.toml:6:17: workers[0].poll_interval: expected a duration like "10s" or "5m", found 5
  queue.toml:7:1: workers[0].concurency: unknown key; did you mean `concurrency`?
  queue.toml:10:10: workers[1].queues: expected a string or an array of strings, found 7
  queue.toml:13:11: dispatcher.enabled: expected true or false, found "sometimes"
  queue.toml:14:14: dispatcher.batch_size: expected a whole number from 1 to 10000, found 1000000
  queue.toml:17:22: process.heartbeat_interval: expected dead_after of at least 1m, three times heartbeat_interval, found 30s; a process would be presumed dead after one late heartbeat
  queue.toml:18:20: process.shutdown_timeout: expected a duration like "10s" or "5m", found "soon"
  queue.toml:21:12: maintenance.interval: expected a duration from 100ms to 1day, found 1ms
  queue.toml:24:12: retention.finished: expected "forever" or a duration like "10s" or "5m", found true
  queue.toml:25:16: retention.queues.a b: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:26:15: retention.kinds.audit: expected "forever" or a duration like "10s" or "5m", found "a while"
  queue.toml:29:11: handlers.send.command: the first string must name the program
  queue.toml:30:11: handlers.send.timeout: expected a duration from 1ms to 7days, found 0s
  queue.toml:31:12: handlers.send.attempts: expected a whole number from 1 to 1000, found 0
  queue.toml:32:11: handlers.send.backoff: expected "exponential", "polynomial", { fixed = "10s" } or { list = ["1s", "1m"] }, found "wild"
  queue.toml:33:1: handlers.send.retries: unknown key; known here: command, http, env, cwd, headers, timeout, queue, attempts, backoff
  queue.toml:37:8: handlers.both.http: give `command` or `http`, not both
  queue.toml:39:1: handlers.neither: give `command` or `http`
  queue.toml:40:9: handlers.neither.queue: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:43:8: handlers.call.http: expected a URL with http or https, found `ftp`
  queue.toml:44:7: handlers.call.env: belongs to `command`
  queue.toml:45:28: handlers.call.headers.Queue-Job-Id: this header is set by the worker
  queue.toml:45:41: handlers.call.headers.a b: this is not a valid name of a header
  queue.toml:45:53: handlers.call.headers.Fine: expected a string
  queue.toml:46:27: handlers.call.backoff.list[1]: expected a duration like "10s" or "5m", found "x"
  queue.toml:46:33: handlers.call.backoff.fixd: unknown key; did you mean `fixed`?
  queue.toml:49:7: database.url: expected a URL that starts with postgres:// or postgresql://
  queue.toml:50:10: database.schema: `My Schema` cannot name a schema: use 1 to 40 of a-z, 0-9 and `_`, and a letter at the beginning
  QUEUE_CONCURRENCY: expected a whole number of at least 0, found "many"
  QUEUE_NOTIFICATIONS: expected true or false, found "perhaps"
  QUEUE_QUEUES: `mail` comes after `*`, which already matches every other queue; move `*` to the end
  --poll-interval: expected a duration like "10s" or "5m", found "1 blink""#
    );
}

#[test]
fn problems_of_limits_are_reported_with_their_places() {
    let sources = Sources::with(
        r#"[limits]
"@queue/two words" = { to = 1 }
"@mail" = { to = 1 }
many = { to = 3_000_000_000 }
fast = { rate = "often", burst = 0 }
never = { rate = "0/1m" }
burst = { burst = 3 }
nothing = {}
slip = { to = 2, burts = 3 }
number = 7
"#,
    );

    assert_eq!(
        sources.problems(),
        r#"the configuration has 10 problems:
  queue.toml:2:22: limits.@queue/two words: ' ' is not allowed in a name; use letters, digits and `_.:/-`
  queue.toml:3:11: limits.@mail: a name with `@` is `@queue/NAME`, `@kind/NAME`, `@tenant/NAME` or `@recurring/NAME`
  queue.toml:4:15: limits.many.to: expected a whole number from 0 to 2147483647, found 3000000000
  queue.toml:5:17: limits.fast.rate: "often" is not a rate: write starts and a period, such as `100/1m`
  queue.toml:5:34: limits.fast.burst: expected a whole number from 1 to 2147483647, found 0
  queue.toml:6:18: limits.never.rate: a rate allows at least 1 start, and a burst of at least 1
  queue.toml:7:19: limits.burst.burst: a burst belongs to a rate, as in { rate = "100/1m", burst = 20 }
  queue.toml:8:11: limits.nothing: give the number of jobs at once, or a rate
  queue.toml:9:18: limits.slip.burts: unknown key; did you mean `burst`?
  queue.toml:10:10: limits.number: expected a table, found 7"#
    );
}

#[test]
fn a_string_in_place_of_a_table_or_an_array_is_not_shown() {
    let sources = Sources::with(
        r#"database = "postgres://app:S3CRET@db/app"
[alerts]
http = "http://hooks/"
headers = "Authorization: S3CRET"
[handlers.call]
command = "call S3CRET"
env = "TOKEN=S3CRET"
"#,
    );
    assert_eq!(
        sources.problems(),
        r#"the configuration has 4 problems:
  queue.toml:1:12: database: expected a table, found a string
  queue.toml:4:11: alerts.headers: expected a table, found a string
  queue.toml:6:11: handlers.call.command: expected an array, found a string
  queue.toml:7:7: handlers.call.env: expected a table, found a string"#
    );
}

#[test]
fn all_syntax_errors_are_reported_and_the_environment_is_checked() {
    let sources =
        Sources::with("[process]\nname = \nname = \"x\"\n\n[dispatcher\nenabled = true\n")
            .variable("QUEUE_CONCURRENCY", "many");
    assert_eq!(
        sources.problems(),
        r#"the configuration has 4 problems:
  queue.toml:2:8: string values must be quoted, expected literal string
  queue.toml:3:1: duplicate key
  queue.toml:5:12: unclosed table, expected `]`
  QUEUE_CONCURRENCY: expected a whole number of at least 0, found "many""#
    );
}

#[test]
fn a_conflict_is_reported_where_one_of_the_settings_was_given() {
    let sources = Sources::with("[process]\nheartbeat_interval = \"20s\"");
    assert_eq!(
        sources.problems(),
        "the configuration has a problem:\n  \
         queue.toml:2:22: process.heartbeat_interval: expected dead_after of at least 1m, \
         three times heartbeat_interval, found 30s; \
         a process would be presumed dead after one late heartbeat"
    );
    let sources = sources.variable("QUEUE_DEAD_AFTER", "40s");
    assert_eq!(
        sources.problems(),
        "the configuration has a problem:\n  \
         QUEUE_DEAD_AFTER: expected dead_after of at least 1m, three times heartbeat_interval, \
         found 40s; a process would be presumed dead after one late heartbeat"
    );
}

#[test]
fn problems_of_shards_are_reported_with_their_places() {
    let sources = Sources::with(
        r#"[database]
url = "postgres://db/app"
shards = "eu,asia"

[shards.eu]

[shards.us]
url = "postgres://db/app"
schema = "queue"

[shards.south]
url = "mysql://ada:secret@db/app"
schema = "My Schema"
weight = 2

[shards."eu:west"]
schema = "west"
"#,
    )
    .variable("QUEUE_LISTEN_URL", "postgres://db/app");
    assert_eq!(
        sources.problems(),
        "the configuration has 7 problems:
  queue.toml:3:10: database.shards: there is no shard `asia`: there are eu, eu:west, south, us
  queue.toml:7:1: shards.us: it has the same database and schema as [shards.eu]
  queue.toml:12:7: shards.south.url: expected a URL that starts with postgres:// or postgresql://
  queue.toml:13:10: shards.south.schema: `My Schema` cannot name a schema: use 1 to 40 of a-z, 0-9 and `_`, and a letter at the beginning
  queue.toml:14:1: shards.south.weight: unknown key; known here: url, schema, listen_url, state
  queue.toml:16:1: shards.eu:west: a colon ends the name of a shard in the id of a job
  QUEUE_LISTEN_URL: there are [shards]: give each a `listen_url` of its own"
    );
}

#[test]
fn a_state_of_a_shard_is_known_and_one_shard_is_open() {
    let states = |eu: &str, us: &str| {
        let us = format!("url = \"postgres://us/app\"\nstate = \"{us}\"");
        let file = format!("[shards.eu]\nstate = \"{eu}\"\n[shards.us]\n{us}\n");
        Sources::with(&file).problems()
    };
    let none = states("draining", "adding");
    assert!(
        none.ends_with("shards: at least one shard must be \"open\""),
        "{none}"
    );
    let file = "[shards.eu]\n[shards.us]\nschema = \"us\"\nstate = \"adding\"\n[shards.asia]\nschema = \"asia\"\nstate = \"adding\"\n";
    let two = Sources::with(file).problems();
    assert!(
        two.ends_with("shards: only one shard at a time can be \"adding\""),
        "{two}"
    );
    let unknown = states("open", "full");
    assert!(
        unknown.contains("unknown value `full`, expected one of `open`, `adding`, `draining`"),
        "{unknown}"
    );
}

#[test]
fn a_choice_among_no_shards_is_refused() {
    let sources = Sources::with("").flag("--shards", "QUEUE_SHARDS", "eu");
    assert_eq!(
        sources.problems(),
        "the configuration has a problem:\n  --shards: there is no shard `eu`: the file has no [shards]"
    );
}
