//! In each folder, modules stand in order in `mod.rs` or `lib.rs`, and each uses only modules below it.
//! So no modules import each other in a circle.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

const CRATES: [&str; 3] = ["queue-core", "queue-dashboard", "queue-worker"];

#[test]
fn no_module_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let upward: Vec<String> = CRATES
        .iter()
        .flat_map(|name| {
            let mut modules = Modules::new();
            load(&mut modules, &[], &root.join(name).join("src/lib.rs"));
            upward_uses(name, &modules)
        })
        .collect();

    assert_eq!(upward, Vec::<String>::new());
}

#[test]
fn an_upward_use_is_found_in_every_notation() {
    for (text, is_found) in [
        ("use crate::roof::Tile;", true),
        ("pub use crate::{floor::Board, roof::Tile};", true),
        ("use crate::Tile;", true),
        ("fn lay() { crate::roof::lay(); }", true),
        ("use super::roof::{self, Tile as Slate};", true),
        ("use super::*;", false),
        ("use crate::floor::Board;", false),
        ("// use crate::roof::Tile;", false),
        ("#[cfg(test)]\nmod tests { use crate::roof::Tile; }", false),
    ] {
        let house = "mod roof;\n\npub mod wall;\nmod floor;\npub use roof::Tile;";
        let mut modules = Modules::new();
        modules.insert(vec![], Module::read(house));
        modules.insert(vec!["roof".into()], Module::read("pub struct Tile;"));
        modules.insert(vec!["wall".into()], Module::read(text));
        modules.insert(vec!["floor".into()], Module::read(""));

        let uses = upward_uses("house", &modules);

        assert_eq!(
            uses == ["house: wall uses roof"],
            is_found,
            "{text}: {uses:?}"
        );
    }
}

#[test]
fn an_upward_use_inside_a_folder_is_found() {
    let mut modules = Modules::new();
    modules.insert(vec![], Module::read("mod house;"));
    modules.insert(vec!["house".into()], Module::read("mod roof;\nmod wall;"));
    let wall = vec!["house".into(), "wall".into()];
    modules.insert(wall, Module::read("use super::roof::Tile;"));
    let roof = vec!["house".into(), "roof".into()];
    modules.insert(roof, Module::read("use crate::house::wall::Brick;"));

    let uses = upward_uses("street", &modules);

    assert_eq!(uses, ["street: house::wall uses house::roof"]);
}

/// A path of modules, from the root of the crate.
type Names = Vec<String>;
type Modules = BTreeMap<Names, Module>;

#[derive(Default)]
struct Module {
    /// The modules it declares, from top to bottom.
    children: Vec<String>,
    /// The paths in its code, as written.
    paths: Vec<Names>,
    /// The paths it imports, by the name each has here.
    imports: HashMap<String, Names>,
}

impl Module {
    fn read(text: &str) -> Module {
        let tokens = tokens(&code(text));
        let mut module = Module::default();
        let mut at = 0;
        while at < tokens.len() {
            let before = if at == 0 { ";" } else { &tokens[at - 1] };
            let next = tokens.get(at + 1).map_or("", String::as_str);
            match tokens[at].as_str() {
                "mod" if tokens.get(at + 2).is_some_and(|end| end == ";") => {
                    module.children.push(next.to_owned());
                }
                "use" if [";", "}", "{", ")", "]", "pub"].contains(&before) => {
                    module.import(&tokens[at + 1..], &[]);
                }
                "crate" | "super" | "self" if next == "::" && before != "::" => {
                    module.paths.push(path(&tokens[at..]));
                }
                _ => {}
            }
            at += 1;
        }
        module
    }

    /// Reads one tree of a `use`, and returns how many tokens it takes.
    fn import(&mut self, tokens: &[String], prefix: &[String]) -> usize {
        let names = path(tokens);
        let mut read = (names.len() * 2).saturating_sub(1);
        let full = [prefix, names.as_slice()].concat();
        let after = |read: usize| tokens.get(read).map_or("", String::as_str);
        if after(read) == "::" && after(read + 1) == "{" {
            read += 2;
            while !["}", ";", ""].contains(&after(read)) {
                read += self.import(&tokens[read..], &full).max(1);
            }
            return read + 1;
        }
        let full: Names = full.into_iter().filter(|name| name != "self").collect();
        if after(read) == "as" {
            read += 2;
            self.imports.insert(tokens[read - 1].clone(), full.clone());
        } else if let Some(name) = full.last() {
            self.imports.insert(name.clone(), full.clone());
        }
        self.paths.push(full);
        read
    }
}

/// Reads `a::b::c` from the first tokens.
fn path(tokens: &[String]) -> Names {
    let is_name = |token: &&String| token.chars().all(|c| c.is_alphanumeric() || c == '_');
    let names = tokens.iter().step_by(2).take_while(is_name);
    let joined = tokens.iter().skip(1).step_by(2);
    let count = 1 + joined.take_while(|token| *token == "::").count();
    names.take(count).cloned().collect()
}

/// Removes comments, the tests at the end of a file, and declarations of test modules.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join("\n");
    let mut parts = code.split("#[cfg(test)]\nmod ");
    let first = parts.next().unwrap_or("").to_owned();
    parts.fold(first, |code, part| {
        code + part.split_once(';').map_or("", |(_, rest)| rest)
    })
}

fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut characters = code.chars().peekable();
    while let Some(first) = characters.next() {
        let mut token = String::from(first);
        if first.is_alphanumeric() || first == '_' {
            while let Some(c) = characters.next_if(|c| c.is_alphanumeric() || *c == '_') {
                token.push(c);
            }
        } else if first == ':' && characters.next_if_eq(&':').is_some() {
            token.push(':');
        }
        if !first.is_whitespace() {
            tokens.push(token);
        }
    }
    tokens
}

/// Reads a module and its submodules.
fn load(modules: &mut Modules, names: &[String], file: &Path) {
    let module = Module::read(&fs::read_to_string(file).expect("a source file"));
    let is_folder = file.ends_with("mod.rs") || file.ends_with("lib.rs");
    let folder = if is_folder {
        file.parent().expect("a folder").to_owned()
    } else {
        file.with_extension("")
    };
    for child in &module.children {
        let alone = folder.join(child).with_extension("rs");
        let file = if alone.exists() {
            alone
        } else {
            folder.join(child).join("mod.rs")
        };
        load(
            modules,
            &[names, std::slice::from_ref(child)].concat(),
            &file,
        );
    }
    modules.insert(names.to_vec(), module);
}

/// Lists the modules that use one above them. Both are named by the modules in which their paths first
/// differ.
fn upward_uses(of: &str, modules: &Modules) -> Vec<String> {
    let mut upward = Vec::new();
    for (names, module) in modules {
        for path in &module.paths {
            let Some(used) = absolute(modules, names, path) else {
                continue;
            };
            let used = resolve(modules, used);
            let shared = names.iter().zip(&used).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (names.get(shared), used.get(shared)) else {
                continue;
            };
            let folder = &names[..shared];
            let order = &modules[folder].children;
            let place = |module| order.iter().position(|child| child == module);
            if place(to) < place(from) {
                let (from, to) = (&names[..=shared], &used[..=shared]);
                upward.push(format!("{of}: {} uses {}", from.join("::"), to.join("::")));
            }
        }
    }
    upward.sort();
    upward.dedup();
    upward
}

/// Turns a path in a module into one from the root of the crate. Returns nothing if it leads to
/// another crate.
fn absolute(modules: &Modules, module: &[String], path: &[String]) -> Option<Names> {
    let mut from = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (from, rest) = (vec![], &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                from.pop();
                rest = &rest[1..];
            }
        }
        child if modules[module].children.iter().any(|known| known == child) => {}
        _ => return None,
    }
    Some([from, rest.to_vec()].concat())
}

/// Returns the module that a path leads to. Follows names that a module on the way imports.
fn resolve(modules: &Modules, path: Names) -> Names {
    let mut module = Names::new();
    for (at, name) in path.iter().enumerate() {
        let known = &modules[&module];
        if known.children.contains(name) {
            module.push(name.clone());
            continue;
        }
        let imported = known.imports.get(name);
        let Some(target) = imported.and_then(|target| absolute(modules, &module, target)) else {
            break;
        };
        return resolve(modules, [&target, &path[at + 1..]].concat());
    }
    module
}
