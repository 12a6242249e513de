//! The commands in the README and in the guides are commands of the program, with its flags.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::shell::said;

/// Makes each command print its help instead, which refuses unknown commands, flags and values before it.
const HELP_ONLY: &str = r#"queue() { "$PROGRAM" "$@" --help > help || { echo "no such command: queue $*" >&2; exit 1; }; }"#;

/// Returns the commands in the shell blocks of a text, each with the lines that continue it.
fn commands(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```"));
    blocks
        .flat_map(|(block, _)| block.lines())
        .filter(|line| line.starts_with("queue "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_of_a_guide_is_one_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guides = fs::read_dir(root.join("docs/guides")).unwrap();
    let mut files: Vec<_> = guides.map(|guide| guide.unwrap().path()).collect();
    files.push(root.join("README.md"));
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let commands: Vec<String> = texts.flat_map(|text| commands(&text)).collect();
    let folder = tempfile::tempdir().unwrap();

    let output = Command::new("sh")
        .arg("-c")
        .arg([&[HELP_ONLY.to_owned()], &commands[..]].concat().join("\n"))
        .current_dir(&folder)
        .env("PROGRAM", env!("CARGO_BIN_EXE_test-queue"))
        .stdin(Stdio::null())
        .output()
        .unwrap();

    assert!(commands.len() > 30, "{commands:?}");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_command_has_the_lines_that_continue_it() {
    let text = "```sh\nls\nqueue jobs \\\n  list\n```\nqueue no\n```toml\nqueue = 1\n```\n";

    assert_eq!(commands(text), ["queue jobs    list"]);
}
