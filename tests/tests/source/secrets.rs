//! `bin/secrets` finds secrets in files and in the history. They are put together here, so that it does not
//! find them in this file.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn git(repository: &TempDir, arguments: &[&str]) {
    let run = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
        .args(arguments)
        .current_dir(repository)
        .output();
    let run = run.unwrap();
    assert!(run.status.success(), "{arguments:?}: {run:?}");
}

fn commit(repository: &TempDir, text: &str) {
    fs::write(repository.path().join("settings.txt"), text).unwrap();
    git(repository, &["add", "."]);
    git(repository, &["commit", "--quiet", "--message", "Change it"]);
}

fn repository() -> TempDir {
    let repository = tempfile::tempdir().unwrap();
    git(&repository, &["init", "--quiet"]);
    commit(&repository, "url = postgres://user:password@localhost/app");
    repository
}

fn scan(repository: &TempDir) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bin/secrets");
    let scan = Command::new(script).arg(repository.path()).output();
    scan.unwrap()
}

/// Asserts that the scan fails and says where this secret is, without repeating it.
fn assert_found(repository: &TempDir, secret: &str, place: &str) {
    let scan = scan(repository);
    let said = String::from_utf8_lossy(&scan.stderr);
    assert_eq!(scan.status.code(), Some(1), "{secret}: {said}");
    let beginning: String = secret.chars().take(12).collect();
    assert!(said.contains(&format!("{beginning}… in {place}")), "{said}");
    assert!(!said.contains(secret), "{said}");
}

#[test]
fn a_repository_without_secrets_passes() {
    let scan = scan(&repository());

    let said = String::from_utf8_lossy(&scan.stderr);
    assert!(scan.status.success(), "{said}");
}

#[test]
fn a_secret_of_each_form_is_found_in_a_file() {
    let letters = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKl";
    let upper = "ABCDEFGHIJKLMNOP";
    for secret in [
        format!("-----BEGIN {} KEY-----", "OPENSSH PRIVATE"),
        format!("-----BEGIN {} KEY-----", "PRIVATE"),
        format!("AKIA{upper}"),
        format!("AIza{}", &letters[..35]),
        format!("ghp_{}", &letters[..36]),
        format!("github_pat_{letters}"),
        format!("glpat-{letters}"),
        format!("xoxb-{letters}"),
        format!("https://hooks.slack.com/services/T{letters}"),
        format!("sk_live_{letters}"),
        format!("whsec_{letters}"),
        format!("cio{letters}"),
        format!("npm_{letters}"),
        format!("pypi-{letters}"),
        format!("SG.{}.{letters}", &letters[..22]),
        format!("eyJ{upper}.eyJ{upper}.{letters}"),
        format!("postgres://app:{letters}@db.internal/app"),
    ] {
        let repository = repository();
        fs::write(repository.path().join("new.txt"), &secret).unwrap();

        // The beginning that is printed is that of the part that the pattern matches.
        let matched = secret.trim_start_matches("https://");
        assert_found(&repository, matched, "new.txt");
    }
}

#[test]
fn a_secret_that_was_removed_is_found_in_the_history() {
    let repository = repository();
    let secret = format!("AKIA{}", "ABCDEFGHIJKLMNOP");
    commit(&repository, &format!("key = {secret}"));
    commit(&repository, "key = none");

    assert_found(&repository, &secret, "commit ");
}
