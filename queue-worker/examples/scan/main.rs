//! An example service: keeps every file of a folder in a store of compressed files, one job per file.
//!
//! A job `scan_folder` (`folder.rs`) walks the folder and enqueues a job `store_file` (`file.rs`) for each
//! file, as a batch. It waits for them without holding a slot, then writes a manifest for
//! `sha256sum --check` and delivers one report. Its parts are steps, so that it goes on where it was.
//!
//! The topmost folders are tenants: each job knows its tenant by its context, and a limit lets a few files
//! of each be stored at once. Another lets one job at a time walk a folder. Until it is stopped, the service
//! scans the folder again every few minutes, by a recurring job.
//!
//! `bin/dev` runs it.

mod console;
mod database;
mod file;
mod folder;
mod follow;
mod hints;
mod interrupt;
mod manifest;
mod path;
mod report;
mod store;
mod tables;
mod walk;

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use queue_worker::config::WorkerSettings;
use queue_worker::{App, Missed, Overlap, Process, Queue, RecurringJob, Settings, Stop};
use tokio::sync::mpsc;

use console::Console;
use database::Database;
use file::StoreFile;
use folder::ScanFolder;
use follow::{Follower, count};
use hints::{say_how_to_look, say_how_to_verify, scan_of};
use path::{one_line, shown};
use report::{Outcome, Report};
use store::Store;
use tables::Run;

/// The state that the jobs share.
struct Scanner {
    /// The folder for manifests and the store. A scan of a folder above it leaves it out.
    manifests: PathBuf,
    store: Store,
}

/// Stores every file of a folder as a job of its own, and writes a manifest for sha256sum.
///
/// Files named by a .gitignore, .git, and everything but regular files are left out. Without
/// --once it runs until Ctrl-C, and scans the folder again every 5 minutes and when Enter is
/// pressed.
#[derive(Debug, Parser)]
#[command(name = "scan", after_help = EXIT_CODES)]
struct Args {
    /// The folder to scan
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// Ends after one run: verifies the manifest with sha256sum, and prints its path
    #[arg(long)]
    once: bool,

    /// The database; by default, a private Postgres is started
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// The folder for the manifests and the store
    #[arg(long, value_name = "FOLDER", default_value = "tmp/scan")]
    manifests: PathBuf,

    /// How many files are stored at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=500))]
    concurrency: u16,
}

/// The schedule of the recurring scan.
const RESCAN: &str = "every 5 minutes";

const EXIT_CODES: &str = "\
Exit codes, with --once:
  0  every file was stored, and sha256sum confirms the digests
  1  a file could not be stored, sha256sum disagrees, or the run was interrupted
  2  the command line is wrong";

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let console = Console::new();
    console.start_log();
    match scan(args, &console).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            console.say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the service, and returns whether all went well.
async fn scan(args: Args, console: &Console) -> Result<bool> {
    let folder = find_folder(&args.folder)?;
    let manifests = make_folder(&args.manifests)?;
    let stop = Stop::new();
    let asked = interrupt::listen(&stop, console)?;

    let connections = u32::from(args.concurrency) + 4;
    let database = Database::open(args.database_url, connections, console).await?;
    let queue = Queue::new(database.pool.clone());
    let follower = Follower {
        queue: queue.clone(),
        console: console.clone(),
    };
    let mut app = app(manifests, console)?;
    if !args.once {
        app = app.recurring(rescan(&folder)?);
    }
    let process = Process::new(queue.clone(), app, settings(args.concurrency.into())?)?;
    let process = tokio::spawn(process.run(stop.clone()));

    let scanned = if args.once {
        tokio::select! {
            ended = once(&queue, &follower, &folder) => ended,
            () = asked.cancelled() => Ok(false),
        }
    } else {
        say_how_to_look(console, &database.url, &folder);
        console.say(format!("The folder is scanned again {RESCAN}."));
        tokio::select! {
            error = scan_repeatedly(&queue, &follower, &folder) => error,
            () = asked.cancelled() => Ok(true),
        }
    };
    stop.gracefully();
    process.await?;
    database.close().await?;
    scanned
}

fn find_folder(folder: &Path) -> Result<PathBuf> {
    let found = folder
        .canonicalize()
        .with_context(|| format!("cannot scan {}", shown(folder)))?;
    if !found.is_dir() {
        bail!("cannot scan {}: it is not a folder", shown(folder));
    }
    std::fs::read_dir(&found).with_context(|| format!("cannot scan {}", shown(folder)))?;
    Ok(found)
}

fn make_folder(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .and_then(|()| folder.canonicalize())
        .with_context(|| format!("cannot write manifests to {}", shown(folder)))
}

fn app(manifests: PathBuf, console: &Console) -> Result<App<Scanner>> {
    let console = console.clone();
    let store = Store::open(manifests.join("store")).context("cannot open the store")?;
    Ok(App::new(Scanner { manifests, store })
        .register::<ScanFolder>()
        .register::<StoreFile>()
        .on_failed(move |job| {
            if job.kind == <ScanFolder as queue_worker::Job>::KIND {
                let error = one_line(job.error.unwrap_or_default());
                console.say(format!("Job {} failed: {error}", job.job_id));
            }
        }))
}

/// Returns the recurring job that scans the folder again, unless a scan of it is still waiting.
fn rescan(folder: &Path) -> Result<RecurringJob> {
    let rescan = RecurringJob::new("rescan", RESCAN, scan_of(folder))?;
    Ok(rescan.missed(Missed::Skip).overlap(Overlap::Skip))
}

/// Returns settings with a worker for folders only, so that a new scan does not wait for the files
/// of others.
fn settings(concurrency: usize) -> Result<Settings> {
    let folders = WorkerSettings {
        queues: folder::QUEUE.parse()?,
        concurrency: 2,
        ..WorkerSettings::default()
    };
    let files = WorkerSettings {
        queues: file::QUEUE.parse()?,
        concurrency,
        ..WorkerSettings::default()
    };
    let mut settings = Settings {
        workers: vec![folders, files],
        ..Settings::load()?
    };
    settings.dispatcher.poll_interval = Duration::from_millis(200);
    settings.process.shutdown_timeout = Duration::from_secs(5);
    settings.process.cancel_grace = Duration::from_secs(1);
    Ok(settings)
}

/// Scans the folder once, waits for the end of the run, and verifies it.
async fn once(queue: &Queue, follower: &Follower, folder: &Path) -> Result<bool> {
    follower.console.say(format!("Scanning {}", shown(folder)));
    let enqueued = queue.enqueue(scan_of(folder)).await?;
    let run = follower.run_of(enqueued.id()).await?;
    let report = follower.follow(&run).await?;
    verify(&run, &report, &follower.console).await?;
    print(&report.manifest.0)?;
    Ok(report.outcome == Outcome::Success)
}

async fn verify(run: &Run, report: &Report, console: &Console) -> Result<()> {
    if report.stored == 0 {
        console.say("There is nothing to verify");
        return Ok(());
    }
    manifest::verify(&run.folder, &report.manifest.0).await?;
    let files = count(report.stored, "file");
    console.say(format!("Verified with sha256sum: {files}"));
    Ok(())
}

/// Scans the folder now and whenever Enter is pressed, and reports every run of any folder.
async fn scan_repeatedly(queue: &Queue, follower: &Follower, folder: &Path) -> Result<bool> {
    let mut presses = presses_of_enter(&follower.console);
    let mut last = follower.last_reported_run().await?;
    let enqueueing = async {
        loop {
            let _no_kind_of_ours_is_unique = queue.enqueue(scan_of(folder)).await?;
            if presses.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    };
    let reporting = async {
        loop {
            let run = follower.run_after(last).await?;
            last = run.id;
            follower
                .console
                .say(format!("\nRun {}: {}", run.id, shown(&run.folder)));
            match follower.follow(&run).await {
                Ok(report) => {
                    say_how_to_verify(&follower.console, &run, &report);
                    print(&report.manifest.0)?;
                }
                Err(error) => follower.console.say(format!("{error:#}")),
            }
        }
    };
    tokio::select! {
        error = enqueueing => error,
        error = reporting => error,
    }
}

/// Returns a message for each line that is read from the terminal, if there is one.
fn presses_of_enter(console: &Console) -> mpsc::UnboundedReceiver<()> {
    let (press, presses) = mpsc::unbounded_channel();
    if io::stdin().is_terminal() {
        console.say("Enter scans the folder again, Ctrl-C stops.");
        // Not a task of the runtime, whose end would wait for a line that may never come.
        std::thread::spawn(move || {
            let lines = io::stdin().lock().lines();
            for _ in lines.map_while(Result::ok) {
                if press.send(()).is_err() {
                    return;
                }
            }
        });
    } else {
        console.say("Ctrl-C stops.");
    }
    presses
}

/// Prints the bytes of a path, unchanged.
fn print(path: &Path) -> Result<()> {
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)
        .and_then(|()| out.flush())
        .context("could not print the path of the manifest")
}
