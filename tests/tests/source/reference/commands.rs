//! The commands: the help of each.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const HEAD: &str = "\
# Commands

What `queue help` says about each command. An application that runs `cli::run` has the same ones under its own name.
";

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    write(&mut Vec::new(), &mut page);
    page
}

/// Writes a command, and those below it.
fn write(command: &mut Vec<String>, page: &mut String) {
    let help = help(command);
    let heading = [&["queue".to_owned()], &command[..]].concat().join(" ");
    let level = "#".repeat(2 + command.len());
    let shown = if command.is_empty() {
        help.clone()
    } else {
        without_global_options(&help)
    };
    write!(
        page,
        "\n{level} {heading}\n\n```text\n{}\n```\n",
        shown.trim()
    )
    .unwrap();
    for name in below(&help) {
        command.push(name);
        write(command, page);
        command.pop();
    }
}

fn help(command: &[String]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_test-queue"))
        .arg0("queue")
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    assert!(run.status.success(), "{command:?}: {run:?}");
    let help = String::from_utf8(run.stdout).unwrap();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Returns the names of the commands below one, from its help.
fn below(help: &str) -> Vec<String> {
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// Leaves out what all commands have.
fn without_global_options(help: &str) -> String {
    let mut is_global = false;
    let lines = help.lines().filter(|line| {
        if !line.is_empty() && !line.starts_with(' ') {
            is_global = *line == "Global options:";
        }
        !is_global
    });
    lines.collect::<Vec<_>>().join("\n")
}
