//! `queue processes`: lists processes, makes them quiet, resumes and stops them.

use clap::{Args, Subcommand};
use queue_core::Schema;
use queue_core::inspect::{ProcessSummary, processes, spell_duration};
use queue_core::operations::audit::Act;
use queue_core::operations::processes::{ProcessRequest, ask};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::audit::{act, actor, audit};
use super::output::{relative, say};
use super::{Database, Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue processes                          every process with its state and heartbeat
  queue processes quiet worker-1.1234      claims no more jobs, and ends those that it runs
  queue processes resume worker-1.1234     claims jobs again
  queue processes stop worker-1.1234       stops as on TERM

A process is named by its name, or by its id, which `queue processes --json` shows. It reads what it is
asked for with its next heartbeat, every few seconds.";

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Processes {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists every process [default]
    List,
    /// Makes a process quiet: it claims no more jobs, and ends those that it runs
    Quiet(One),
    /// Makes a quiet process claim jobs again
    Resume(One),
    /// Stops a process as TERM does: its running jobs end within its shutdown timeout
    Stop(One),
}

#[derive(Clone, Debug, Args)]
struct One {
    /// The name or the id of the process
    #[arg(value_name = "PROCESS")]
    process: String,
    /// Why, for those who read the audit
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

impl Processes {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self.command.unwrap_or(Command::List) {
            Command::List => list(global).await,
            Command::Quiet(one) => one.ask(global, "quiet", Some(ProcessRequest::Quiet)).await,
            Command::Resume(one) => one.ask(global, "resume", None).await,
            Command::Stop(one) => one.ask(global, "stop", Some(ProcessRequest::Stop)).await,
        }
    }
}

impl One {
    async fn ask(
        self,
        global: &Global,
        verb: &str,
        request: Option<ProcessRequest>,
    ) -> Result<Exit, Failure> {
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        let process = self.find(&mut conn, &schema).await?;
        let (id, name) = (process.id, &process.name);
        let mut tx = conn.begin().await?;
        let asked = ask(&mut tx, &schema, id, request, Some(&actor().who)).await?;
        let changed = asked.ok_or_else(|| self.unknown())?;
        if changed {
            let done = Act {
                why: self.why.clone(),
                ..act(verb, format!("processes/{id}"))
            };
            audit(&mut tx, &schema, done).await?;
        }
        tx.commit().await?;
        say(match (changed, request) {
            (false, _) => format!("process {name} was asked for that already, or is stopping"),
            (_, Some(ProcessRequest::Quiet)) => {
                format!("process {name} claims no more jobs after its next heartbeat")
            }
            (_, Some(ProcessRequest::Stop)) => {
                format!("process {name} stops after its next heartbeat")
            }
            (_, None) => format!("process {name} claims jobs again after its next heartbeat"),
        });
        global.conclude(&json!({"process": id, "changed": changed}))
    }

    /// Finds the process of an id, or the only one of a name.
    async fn find(
        &self,
        conn: &mut PgConnection,
        schema: &Schema,
    ) -> Result<ProcessSummary, Failure> {
        let asked = &self.process;
        let all = processes::list(conn, schema).await?;
        let is_it = |process: &ProcessSummary| {
            process.name == *asked || process.id.to_string() == asked.to_lowercase()
        };
        let mut found: Vec<_> = all.into_iter().filter(is_it).collect();
        match found.len() {
            0 | 1 => found.pop().ok_or_else(|| self.unknown()),
            _ => {
                let ids: Vec<_> = found.iter().map(|found| found.id.to_string()).collect();
                let ids = ids.join(", ");
                Err(Failure::usage(format!(
                    "several processes are named {asked}: give one of the ids {ids}"
                )))
            }
        }
    }

    fn unknown(&self) -> Failure {
        let error = anyhow::anyhow!(
            "there is no process {}: `queue processes` lists them",
            self.process
        );
        Failure::new(Exit::NotFound, error)
    }
}

async fn list(global: &Global) -> Result<Exit, Failure> {
    let config = global.load()?;
    let (mut conn, schema) = Database::open(&config).await?;
    let processes = processes::list(&mut conn, &schema).await?;
    let dead_after_seconds = config.settings.process.dead_after.as_secs_f64();
    let status = |process: &ProcessSummary| status(process, dead_after_seconds).to_owned();
    let silence = |seconds| format!("{} ago", spell_duration(seconds));
    global.print_list(
        &processes,
        "no process is running: start one with `queue start`",
        &[
            ("NAME", &|process| process.name.clone()),
            ("#PID", &|process| process.pid.to_string()),
            ("HOST", &|process| process.host.clone()),
            ("STATUS", &status),
            ("#RUNNING", &|process| process.running.to_string()),
            ("#OF", &|process| detail(process, "concurrency")),
            ("STARTED", &|process| relative(process.started_at)),
            ("HEARTBEAT", &|process| silence(process.silent_seconds)),
            ("QUEUES", &|process| detail(process, "queues")),
        ],
    )
}

fn status(process: &ProcessSummary, dead_after_seconds: f64) -> &'static str {
    if process.silent_seconds > dead_after_seconds {
        "dead"
    } else if process.stopping_at.is_some() {
        "stopping"
    } else if process.is_quiet() {
        "quiet"
    } else if process.idle && process.running == 0 {
        "idle"
    } else {
        "running"
    }
}

/// Returns a value from the details of a process; a list is joined with commas.
fn detail(process: &ProcessSummary, key: &str) -> String {
    match process.details.get(key) {
        Some(serde_json::Value::Array(values)) => {
            values.iter().map(text).collect::<Vec<_>>().join(",")
        }
        Some(value) => text(value),
        None => "-".to_owned(),
    }
}

fn text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
