//! The settings in the README and in the sample configuration are valid, and the guide to troubleshooting names all
//! checks of the doctor. The README's Rust code is compiled with the documentation of queue-worker, and its first job is
//! an example that a test runs.

use std::fs;

use queue_core::inspect::doctor::CHECKS;
use queue_worker::Settings;
use queue_worker::config::{Config, Override};

const README: &str = include_str!("../../../README.md");
const SAMPLE: &str = include_str!("../../../config/queue.toml");
const TROUBLESHOOTING: &str = include_str!("../../../docs/guides/troubleshooting.md");
const FIRST_JOB: &str = include_str!("../../../queue-worker/examples/first_job.rs");

/// Returns the first block in this language below a heading.
fn block(heading: &str, language: &str) -> &'static str {
    let (_, section) = README
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading");
    let (_, from_start) = section
        .split_once(&format!("```{language}\n"))
        .expect("a block in this language");
    from_start.split_once("```").expect("its end").0
}

fn loaded(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queue.toml");
    fs::write(&file, text).unwrap();
    let named = Override::flag("--config", "QUEUE_CONFIG", file);
    Config::load(&[named]).unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[test]
fn the_configuration_of_the_readme_is_valid() {
    let config = loaded(block("Configuration", "toml"));

    assert_eq!(config.settings.workers.len(), 2);
    assert_eq!(config.settings.limits.len(), 2);
    assert!(config.handlers.contains_key("thumbnail"));
    assert!(config.recurring.contains_key("tidy"));
}

#[test]
fn the_first_job_of_the_readme_is_the_example() {
    assert_eq!(block("A first job", "rust,no_run"), FIRST_JOB);
}

#[test]
fn troubleshooting_names_every_check_of_the_doctor() {
    for check in CHECKS {
        assert!(TROUBLESHOOTING.contains(&format!("`{check}`")), "{check}");
    }
}

#[test]
fn the_sample_configuration_equals_the_defaults() {
    let config = loaded(SAMPLE);

    assert_eq!(config.settings, Settings::default());
    assert_eq!(config.database.schema, "queue");
}

#[test]
fn the_commented_settings_of_the_sample_configuration_are_valid() {
    let uncommented: String = SAMPLE
        .lines()
        // Shards have their own.
        .filter(|line| !line.starts_with("# listen_url"))
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.starts_with('[') || setting.contains(" = ") => setting,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");

    let config = loaded(&uncommented);

    assert_eq!(config.handlers.len(), 3);
    assert_eq!(config.recurring.len(), 2);
    assert_eq!(config.settings.retention.kinds.len(), 1);
    assert_eq!(config.settings.limits.len(), 5);
    assert_eq!(config.settings.queues.len(), 1);
    assert!(config.alerts.is_some());
}
