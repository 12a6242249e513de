//! The events: hooks, alerts, and all log lines.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, Ident, ImplItem, Item, LitStr, Token};

use super::code::{code, comment, fields, items, root, variants};

const HOOKS: &str = "\
# Events

The hooks that a program can register, the alerts that are sent, and every line of the log.

## Hooks

Functions that an application gives to its `App`.

| hook | when it is called |
| --- | --- |
";

const ALERTS: &str = "
## Alerts

What `on` in [`[alerts]`](settings.md#alerts) names. [The guide](../guides/monitoring.md#alerts) describes the messages.

| name | what is wrong |
| --- | --- |
";

const LINES: &str = "
## Log lines

Each has a level, a message and fields. A line that is written while a job runs also has those of its run: `job_id`,
`kind`, `queue`, `attempt` and the context. `QUEUE_LOG`
chooses the levels. In a message, `{…}` is a value.
";

/// The levels, most urgent first.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

pub(super) fn page() -> String {
    let mut page = HOOKS.to_owned();
    let mut row = |first: &str, text: &str| {
        let text = text.replace('|', "\\|");
        writeln!(page, "| `{first}` | {text} |").unwrap();
    };
    for (name, text) in hooks() {
        row(&name, &text);
    }
    let hooks = items("queue-worker/src/app/hooks.rs");
    let reports = items("queue-worker/src/app/reports.rs");
    for (items, name) in [
        (&hooks, "JobEvent"),
        (&hooks, "ProcessEvent"),
        (&reports, "ErrorReport"),
    ] {
        write!(
            page,
            "\n### `{name}`\n\n| field | meaning |\n| --- | --- |\n"
        )
        .unwrap();
        for field in fields(items, name)
            .iter()
            .filter(|field| !field.text.is_empty())
        {
            writeln!(page, "| `{}` | {} |", field.name, field.text).unwrap();
        }
    }
    page += ALERTS;
    for (name, text) in variants(&items("queue-core/src/alerts/mod.rs"), "AlertKind").unwrap() {
        writeln!(page, "| `{name}` | {text} |").unwrap();
    }
    page += LINES;
    let lines = log_lines();
    for (number, level) in LEVELS.iter().enumerate() {
        write!(
            page,
            "\n### `{level}`\n\n| message | fields |\n| --- | --- |\n"
        )
        .unwrap();
        for (_, message, fields) in lines.iter().filter(|line| line.0 == number) {
            let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
            writeln!(
                page,
                "| {} | {} |",
                message.replace('|', "\\|"),
                fields.join(", ")
            )
            .unwrap();
        }
    }
    page
}

/// Returns the hooks of an application, with their comments.
fn hooks() -> Vec<(String, String)> {
    let mut hooks = Vec::new();
    for item in items("queue-worker/src/app/mod.rs") {
        let Item::Impl(block) = item else { continue };
        for item in block.items {
            if let ImplItem::Fn(function) = item {
                let name = function.sig.ident.to_string();
                if name.starts_with("on_") || name == "report_errors" {
                    hooks.push((name, comment(&function.attrs)));
                }
            }
        }
    }
    hooks
}

/// The position of its level, its message, and its fields.
type Line = (usize, String, Vec<String>);

/// Returns all log lines of the code, by level and message.
fn log_lines() -> BTreeSet<Line> {
    let mut lines = BTreeSet::new();
    for folder in ["queue-core/src", "queue-dashboard/src", "queue-worker/src"] {
        look_into(&root().join(folder), &mut lines);
    }
    lines
}

fn look_into(folder: &Path, lines: &mut BTreeSet<Line>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_into(&path, lines);
        } else if path.extension() == Some(OsStr::new("rs")) {
            find(code(&path).parse().unwrap(), lines);
        }
    }
}

/// Finds the macros that write log lines, also within other macros.
fn find(tokens: TokenStream, lines: &mut BTreeSet<Line>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (position, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        if let [.., TokenTree::Ident(name), TokenTree::Punct(mark)] = &tokens[..position]
            && mark.as_char() == '!'
            && let Some(level) = LEVELS.iter().position(|level| name == level)
        {
            let (fields, message) = line.parse2(group.stream()).unwrap();
            lines.insert((level, message, fields));
        }
        find(group.stream(), lines);
    }
}

/// Reads the arguments of such a macro.
fn line(input: ParseStream) -> syn::Result<(Vec<String>, String)> {
    let mut fields = Vec::new();
    while !input.peek(LitStr) {
        let _format: Option<Token![%]> = input.parse()?;
        let _format: Option<Token![?]> = input.parse()?;
        let mut name = input.call(Ident::parse_any)?.to_string();
        while input.parse::<Option<Token![.]>>()?.is_some() {
            name = format!("{name}.{}", input.call(Ident::parse_any)?);
        }
        if input.parse::<Option<Token![=]>>()?.is_some() {
            let _format: Option<Token![%]> = input.parse()?;
            let _format: Option<Token![?]> = input.parse()?;
            let _value: Expr = input.parse()?;
        }
        fields.push(name);
        let _comma: Token![,] = input.parse()?;
    }
    let message: LitStr = input.parse()?;
    let _values: TokenStream = input.parse()?;
    Ok((fields, message.value()))
}
