//! The modules of a crate stand in order in its `lib.rs`, and use only those below them.

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 2] = ["queue-core", "queue-worker"];

#[test]
fn no_module_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let upward: Vec<String> = CRATES
        .iter()
        .flat_map(|name| upward_uses(&root.join(name).join("src")))
        .collect();

    assert_eq!(upward, Vec::<String>::new());
}

#[test]
fn an_upward_use_is_noticed() {
    let order = order("mod roof;\n\npub mod wall;\nmod floor;\n");

    let uses = uses_above(
        "use crate::roof::Tile;\nuse crate::floor::Board;",
        "wall",
        &order,
    );

    assert_eq!(uses, ["roof"]);
}

fn upward_uses(source: &Path) -> Vec<String> {
    let order = order(&read(&source.join("lib.rs")));
    let mut upward = Vec::new();
    for module in &order {
        for file in files_of(source, module) {
            for above in uses_above(&read(&file), module, &order) {
                upward.push(format!("{} uses `{above}`", file.display()));
            }
        }
    }
    upward
}

/// The modules that `lib.rs` declares, from top to bottom.
fn order(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| {
            let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
            Some(name.strip_suffix(';')?.to_owned())
        })
        .collect()
}

/// A module's file, or all files of its folder.
fn files_of(source: &Path, module: &str) -> Vec<PathBuf> {
    let file = source.join(format!("{module}.rs"));
    if file.exists() {
        return vec![file];
    }
    let mut folders = vec![source.join(module)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a module's folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The modules above `module` that its text names after `crate::`.
fn uses_above(text: &str, module: &str, order: &[String]) -> Vec<String> {
    order
        .iter()
        .take_while(|above| *above != module)
        .filter(|above| mentions(text, above))
        .cloned()
        .collect()
}

fn mentions(text: &str, module: &str) -> bool {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let path = format!("crate::{module}");
    code.match_indices(&path).any(|(at, _)| {
        let next = code[at + path.len()..].chars().next();
        !next.is_some_and(|next| next.is_alphanumeric() || next == '_')
    })
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source file")
}
