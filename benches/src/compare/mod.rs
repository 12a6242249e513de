//! Decides whether a change made anything slower, by measuring a commit and the working tree in turns.
//!
//! Both are built. The two samples of a pair run in turns of some milliseconds, each with its own
//! server, so that a slow machine slows both; their speeds are therefore half of what one alone reaches.
//! The report has the median ratio of the pairs with its 95 % interval, and per job the bytes of log,
//! statements, round trips and processor time; the last with the ratio of now to before.
//! "Not worse by more than 3 %" means that the interval is not wholly below 0.97.

mod build;
mod interval;
pub(crate) mod proxy;
pub(crate) mod sample;
mod turns;
pub(crate) mod usage;

use anyhow::Result;
use comfy_table::{Table, presets};

use self::interval::median_interval;
use self::sample::{Figures, Sample};
use self::turns::Program;
use crate::rounds::median;

/// The pairs of samples of each measure.
const PAIRS_MIN: usize = 15;

const HEADER: [&str; 10] = [
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
];

/// Compares the working tree with a commit.
pub(crate) async fn run(commit: &str, rounds: usize) -> Result<()> {
    let before = Program::start(build::commit(commit).await?, "-before").await?;
    let now = Program::start(std::env::current_exe()?, "-now").await?;
    let table = compare(&before, &now, rounds.max(PAIRS_MIN)).await;
    before.stop().await?;
    now.stop().await?;
    println!("{}", table?);
    Ok(())
}

async fn compare(before: &Program, now: &Program, pairs: usize) -> Result<Table> {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(HEADER);
    for sample in Sample::ALL {
        let mut figures = Vec::new();
        for pair in 0..pairs {
            figures.push(if pair % 2 == 0 {
                turns::take(before, now, sample).await?
            } else {
                let (now, before) = turns::take(now, before, sample).await?;
                (before, now)
            });
            eprint!(".");
        }
        let counted = (before.count(sample).await?, now.count(sample).await?);
        eprintln!(" {}", sample.name());
        table.add_row(row(sample, &figures, (&counted.0, &counted.1)));
    }
    Ok(table)
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
