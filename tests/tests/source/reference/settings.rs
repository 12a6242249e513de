//! The settings: the fields of the tables of `queue.toml`, their comments, and the sample with the defaults.

use std::fmt::Write as _;

use syn::{Expr, Item, Lit, Type};

use super::code::{self, Field, in_serde, items, parts, root, variants};

const HEAD: &str = "\
# Settings

All settings of `queue.toml`. A variable overrides the file, and a flag of
[`queue start`](commands.md#queue-start) overrides both. A duration is written as `\"10s\"`, `\"5m\"` or
`\"1h 30m\"`. [`config/queue.toml`](../../config/queue.toml) is a file with all of them, and `queue check`
reports what is wrong with yours.
";

/// Settings in the file that are described where they end up.
const ELSEWHERE: &str = "handlers.rs";

pub(super) fn page() -> String {
    let config = root().join("queue-worker/src/config");
    let file = |name: &str| items(config.join(name));
    let settings = file("settings.rs");
    let tables: Vec<Vec<Item>> = [
        "alerts",
        "handlers",
        "limits",
        "parts",
        "recurring",
        "redact",
        "shards",
    ]
    .map(|name| file(&format!("{name}.rs")))
    .into();
    let shared = file(ELSEWHERE);
    let intros = [
        code::fields(&settings, "Settings"),
        code::fields(&settings, "Config"),
    ]
    .concat();
    let sample = std::fs::read_to_string(root().join("config/queue.toml")).unwrap();
    let sample: toml::Table = sample.parse().unwrap();
    let variables = variables();

    let mut page = HEAD.to_owned();
    for table in code::fields(&settings, "File") {
        let (heading, kind) = heading(&table);
        let intro = intros
            .iter()
            .find(|intro| intro.name == table.name)
            .unwrap();
        write!(page, "\n## `{heading}`\n\n{}\n\n", intro.text).unwrap();
        page +=
            "| setting | type | default | variable | meaning |\n| --- | --- | --- | --- | --- |\n";
        let items = tables.iter().find(|items| has(items, &kind)).unwrap();
        for field in code::fields(items, &kind) {
            let text = described(&field, items, &shared);
            let key = format!("{}.{}", table.name, field.name);
            let (name, values) = match parts(&field.kind) {
                (map, _) if map == "BTreeMap" => (format!("{}.NAME", field.name), true),
                _ => (field.name.clone(), false),
            };
            let default = default(&sample, &table.name, &field.name).filter(|_| !values);
            let variable = variables.iter().find(|(_, of)| *of == key);
            let code = |text: Option<&str>| text.map_or(String::new(), |text| format!("`{text}`"));
            writeln!(
                page,
                "| `{name}` | {} | {} | {} | {} |",
                written(&field.kind, &field),
                code(default.as_deref()),
                code(variable.map(|(name, _)| name.as_str())),
                text.replace('|', "\\|"),
            )
            .unwrap();
        }
    }
    page
}

fn has(items: &[Item], name: &str) -> bool {
    items
        .iter()
        .any(|item| matches!(item, Item::Struct(found) if found.ident == name))
}

/// Returns the heading of a table as in the file, and the struct that has its fields.
fn heading(table: &Field) -> (String, String) {
    let (mut name, mut inner) = parts(&table.kind);
    let mut heading = format!("[{}]", table.name);
    while let Some(last) = inner.last() {
        match name.as_str() {
            "Vec" => heading = format!("[{heading}]"),
            "BTreeMap" => heading = format!("[{}.NAME]", table.name),
            _ => {}
        }
        (name, inner) = parts(last);
    }
    (heading, name)
}

/// Returns the comment of a setting, or of what it becomes.
fn described(field: &Field, items: &[Item], shared: &[Item]) -> String {
    let structs = items.iter().chain(shared).filter_map(|item| match item {
        Item::Struct(found) if !found.fields.is_empty() => Some(found),
        _ => None,
    });
    let texts = structs
        .flat_map(|found| &found.fields)
        .filter(|other| other.ident.as_ref().is_some_and(|name| *name == field.name))
        .map(|other| code::comment(&other.attrs));
    [field.text.clone()]
        .into_iter()
        .chain(texts)
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| panic!("the setting {} has no comment", field.name))
}

/// Returns how people write a value of this type.
fn written(kind: &Type, field: &Field) -> String {
    let (name, inner) = parts(kind);
    let reader = in_serde(&field.attributes, "deserialize_with");
    match (name.as_str(), reader.as_deref()) {
        (_, Some("keep")) | ("KeepFor", _) => "duration or `\"forever\"`".to_owned(),
        (_, Some("names")) => "string".to_owned(),
        ("Option" | "BTreeMap", _) => written(inner.last().unwrap(), field),
        ("Vec", _) => match written(inner[0], field) {
            string if string == "string" => "list of strings".to_owned(),
            values => format!("list of {values}"),
        },
        ("bool", _) => "`true` or `false`".to_owned(),
        ("u16" | "u32" | "i16" | "usize", _) => "whole number".to_owned(),
        ("String" | "Secret" | "ServerUrl" | "PathBuf" | "Tz", _) => "string".to_owned(),
        ("Duration" | "Timeout", _) => "duration".to_owned(),
        ("QueueList", _) => "string or list of strings".to_owned(),
        ("Value", _) => "table or other value".to_owned(),
        ("BackoffSettings", _) => {
            "`\"exponential\"`, `\"polynomial\"`, `{ fixed = \"10s\" }` or `{ list = [\"1s\", \"1m\"] }`".to_owned()
        }
        (name, _) => {
            let files = ["recurring/policy.rs", "alerts/mod.rs", "shards/mod.rs"];
            let mut files = files.iter().map(|file| items(format!("queue-core/src/{file}")));
            let variants = files.find_map(|items| variants(&items, name));
            let variants = variants.unwrap_or_else(|| panic!("say how a {name} is written"));
            let names: Vec<String> = variants.iter().map(|(name, _)| format!("`\"{name}\"`")).collect();
            names.join(", ")
        }
    }
}

/// Returns the default of a setting that the sample has.
fn default(sample: &toml::Table, table: &str, field: &str) -> Option<String> {
    let table = match sample.get(table)? {
        toml::Value::Array(tables) => tables.first()?,
        table => table,
    };
    table.get(field).map(ToString::to_string)
}

/// Returns the variables with the keys of their settings.
fn variables() -> Vec<(String, String)> {
    let items = items("queue-worker/src/config/overrides.rs");
    let listed = items.iter().find_map(|item| match item {
        Item::Const(found) if found.ident == "VARIABLES" => Some(&*found.expr),
        _ => None,
    });
    let Some(Expr::Array(pairs)) = listed else {
        panic!("there is no list of variables")
    };
    let text = |expr: &Expr| match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => text.value(),
            _ => panic!("expected a string"),
        },
        _ => panic!("expected a literal"),
    };
    let pairs = pairs.elems.iter().map(|pair| match pair {
        Expr::Tuple(pair) => (text(&pair.elems[0]), text(&pair.elems[1])),
        _ => panic!("expected a pair"),
    });
    pairs.collect()
}
