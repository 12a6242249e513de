//! Builds the benchmark of another commit.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

/// Builds a commit in its own work tree, and returns the benchmark's program. The build is kept, so
/// that comparing with the same commit again is quick.
pub(crate) async fn commit(commit: &str) -> Result<PathBuf> {
    let revision = format!("{commit}^{{commit}}");
    let hash = output("git", &["rev-parse", "--verify", &revision]).await?;
    let target = target_directory().await?.join("compare");
    let program = target.join(format!("queue-benches-{hash}"));
    if program.exists() {
        return Ok(program);
    }
    let tree = target.join("tree");
    eprintln!("building {hash} …");
    std::fs::create_dir_all(&target)?;
    remove(&tree).await;
    let tree_path = tree.display().to_string();
    output("git", &["worktree", "add", "--detach", &tree_path, &hash]).await?;
    let built = build(&tree, &target).await;
    if built.is_ok() {
        std::fs::copy(target.join("release/queue-benches"), &program)?;
    }
    remove(&tree).await;
    built.map(|()| program)
}

async fn build(tree: &Path, target: &Path) -> Result<()> {
    let built = Command::new("cargo")
        .args(["build", "--release", "--package", "queue-benches"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(tree)
        .status()
        .await?;
    anyhow::ensure!(built.success(), "the commit could not be built");
    Ok(())
}

async fn remove(tree: &Path) {
    let path = tree.display().to_string();
    let _was_not_there = output("git", &["worktree", "remove", "--force", &path]).await;
}

async fn target_directory() -> Result<PathBuf> {
    let metadata = output("cargo", &["metadata", "--format-version", "1", "--no-deps"]).await?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let directory = metadata["target_directory"].as_str();
    Ok(PathBuf::from(
        directory.context("cargo named no target directory")?,
    ))
}

async fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().await?;
    anyhow::ensure!(
        output.status.success(),
        "{program} {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
