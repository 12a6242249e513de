//! Decides whether a change made anything slower, by measuring a commit and the working tree in turns.
//!
//! Both are built. The two samples of a pair run on the same server, one after the other in
//! alternating order, so that a slow machine slows both. The report has the median ratio of the pairs
//! with its 95 % interval, and per job the bytes of log, statements, round trips and processor time; the
//! last with the ratio of now to before.
//! "Not worse by more than 3 %" means that the whole interval is above 0.97.

mod build;
mod interval;
pub(crate) mod proxy;
pub(crate) mod sample;
pub(crate) mod usage;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets};
use tokio::process::Command;

use self::interval::median_interval;
use self::sample::{Figures, Sample};
use crate::rounds::median;
use crate::server::Server;

/// The pairs of samples of each measure.
const PAIRS_MIN: usize = 15;

/// Compares the working tree with a commit, on a server.
pub(crate) async fn run(commit: &str, rounds: usize, server: &Server) -> Result<()> {
    let base = build::commit(commit).await?;
    let head = std::env::current_exe()?;
    let url = server.url();
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "measure",
        "before",
        "now",
        "speed",
        "95 % interval",
        "log B",
        "statements",
        "round trips",
        "server µs",
        "worker µs",
    ]);
    for sample in Sample::ALL {
        let mut pairs = Vec::new();
        for pair in 0..rounds.max(PAIRS_MIN) {
            let (before, now);
            if pair % 2 == 0 {
                before = take(&base, sample, &url, false).await?;
                now = take(&head, sample, &url, false).await?;
            } else {
                now = take(&head, sample, &url, false).await?;
                before = take(&base, sample, &url, false).await?;
            }
            eprint!(".");
            pairs.push((before, now));
        }
        let before = take(&base, sample, &url, true).await?;
        let now = take(&head, sample, &url, true).await?;
        eprintln!(" {}", sample.name());
        table.add_row(row(sample, &pairs, (&before, &now)));
    }
    println!("{table}");
    Ok(())
}

/// Takes one sample, in its own process and database.
async fn take(binary: &Path, sample: Sample, url: &str, counted: bool) -> Result<Figures> {
    let mut command = Command::new(binary);
    command.args(["sample", sample.name()]);
    if counted {
        command.arg("--counted");
    }
    let output = command
        .env("DATABASE_URL", url)
        .stderr(Stdio::inherit())
        .output()
        .await?;
    anyhow::ensure!(
        output.status.success(),
        "the sample {} of {} failed",
        sample.name(),
        binary.display()
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("could not read the sample of {}", binary.display()))
}

fn row(
    sample: Sample,
    pairs: &[(Figures, Figures)],
    (counted_before, counted_now): (&Figures, &Figures),
) -> Vec<String> {
    let speeds = pairs.iter().map(|(before, now)| now.speed / before.speed);
    let (ratio, low, high) = median_interval(speeds.collect());
    let of = |figure: fn(&Figures) -> f64| {
        let before = median(pairs.iter().map(|(before, _)| figure(before)));
        let now = median(pairs.iter().map(|(_, now)| figure(now)));
        format!("{before:.1} → {now:.1}")
    };
    let used = |figure: fn(&Figures) -> f64| {
        let ratios = pairs
            .iter()
            .map(|(before, now)| figure(now) / figure(before));
        let (ratio, low, high) = median_interval(ratios.collect());
        format!("{}\n{ratio:.3}: {low:.3} to {high:.3}", of(figure))
    };
    let counted = |figure: fn(&Figures) -> f64| {
        format!("{:.3} → {:.3}", figure(counted_before), figure(counted_now))
    };
    let speed = |figures: Vec<f64>| format!("{:.0}", median(figures));
    vec![
        sample.name().to_owned(),
        speed(pairs.iter().map(|(before, _)| before.speed).collect()),
        speed(pairs.iter().map(|(_, now)| now.speed).collect()),
        format!("{ratio:.3}"),
        format!("{low:.3} to {high:.3}"),
        of(|figures| figures.log_bytes),
        counted(|figures| figures.statements),
        counted(|figures| figures.round_trips),
        used(|figures| figures.server_us),
        used(|figures| figures.worker_us),
    ]
}
