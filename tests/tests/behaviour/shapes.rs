//! No statement has one of these shapes, which the planner of Citus refuses: a volatile function in a modification, a
//! notification by a select without `from`, or several commands. It takes volatile defaults of columns.

use std::collections::BTreeSet;

use queue_tests::statements::{Statement, statements};
use queue_tests::world::World;

/// Volatile functions that a modification may call, which planners accept.
const MAY_BE_CALLED: &[&str] = &["nextval"];

/// A piece of a statement.
#[derive(Debug)]
enum Piece {
    /// A word, which may be qualified.
    Word(String),
    /// What is between brackets.
    Bracket(Vec<Piece>),
    /// Anything else.
    Sign(char),
}

/// Splits a statement into pieces, without its comments and strings. Takes the characters up to a closing bracket.
fn pieces(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<Piece> {
    let is_of_word = |c: &char| c.is_ascii_alphanumeric() || "_.$".contains(*c);
    let mut pieces = Vec::new();
    while let Some(first) = chars.next() {
        match first {
            '(' => pieces.push(Piece::Bracket(self::pieces(chars))),
            ')' => break,
            '\'' => _ = chars.find(|c| *c == '\''),
            '-' if chars.peek() == Some(&'-') => _ = chars.find(|c| *c == '\n'),
            _ if is_of_word(&first) => {
                let mut word = String::from(first);
                while let Some(next) = chars.next_if(is_of_word) {
                    word.push(next);
                }
                pieces.push(Piece::Word(word));
            }
            _ if first.is_whitespace() => {}
            _ => pieces.push(Piece::Sign(first)),
        }
    }
    pieces
}

fn is_word(piece: &Piece, words: &[&str]) -> bool {
    matches!(piece, Piece::Word(word) if words.contains(&word.as_str()))
}

/// Finds the shapes in a command, or in what is between brackets, which may be part of a modification.
fn find(pieces: &[Piece], is_modified: bool, volatile: &BTreeSet<String>, found: &mut Vec<String>) {
    let verbs = ["select", "insert", "update", "delete", "copy"];
    // The command that follows the `with` parts.
    let main = match pieces.first() {
        Some(first) if is_word(first, &["with"]) => {
            pieces.iter().position(|piece| is_word(piece, &verbs))
        }
        _ => None,
    };
    let verb = pieces.get(main.unwrap_or(0));
    let is_modified =
        is_modified || verb.is_some_and(|verb| is_word(verb, &["insert", "update", "delete"]));
    let has_from = pieces.iter().any(|piece| is_word(piece, &["from"]));

    for (at, piece) in pieces.iter().enumerate() {
        let Piece::Bracket(inner) = piece else {
            if matches!(piece, Piece::Sign(';')) {
                found.push("several commands".to_owned());
            }
            continue;
        };
        // `with` parts are commands of their own.
        let is_part = main.is_some_and(|main| at < main);
        find(inner, is_modified && !is_part, volatile, found);
        let Some(Piece::Word(name)) = at.checked_sub(1).and_then(|before| pieces.get(before))
        else {
            continue;
        };
        if name == "pg_notify" && !has_from {
            found.push("pg_notify in a select without from".to_owned());
        }
        if is_modified && volatile.contains(name) && !MAY_BE_CALLED.contains(&name.as_str()) {
            found.push(format!("{name} in a modification"));
        }
    }
}

fn shapes(sql: &str, volatile: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    find(
        &pieces(&mut sql.chars().peekable()),
        false,
        volatile,
        &mut found,
    );
    found
}

#[tokio::test]
async fn no_statement_has_one_of_the_shapes() {
    let world = World::new().await;
    let volatile: Vec<(String,)> = world
        .rows(
            "select distinct case when nspname = 'queue' then 'queue.' else '' end || proname
            from pg_proc
            join pg_namespace on pg_namespace.oid = pronamespace
            where provolatile = 'v' and nspname in ('pg_catalog', 'queue')",
        )
        .await;
    let volatile: BTreeSet<String> = volatile.into_iter().map(|(name,)| name).collect();

    let mut found = Vec::new();
    for Statement { name, sql, .. } in statements() {
        found.extend(
            shapes(&sql, &volatile)
                .into_iter()
                .map(|shape| format!("{name}: {shape}")),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn each_shape_is_found_wherever_it_is() {
    let volatile = BTreeSet::from(["clock_timestamp".to_owned(), "pg_notify".to_owned()]);
    let time = ["clock_timestamp in a modification".to_owned()];
    for modified in [
        "update a set b = clock_timestamp()",
        "insert into a (b) values ((clock_timestamp()))",
        "insert into a select 1 on conflict (b) do update set b = (select c from (select clock_timestamp()) as d)",
        "with a as (insert into b select clock_timestamp() returning c) select c from a",
        "with a as (select 1) delete from b where c < clock_timestamp()",
    ] {
        assert_eq!(shapes(modified, &volatile), time, "{modified}");
    }
    for accepted in [
        "select clock_timestamp()",
        "-- clock_timestamp()\nupdate a set b = 'clock_timestamp()'",
        "with a as (select clock_timestamp() as b) update c set d = (select b from a)",
        "with a as (update b set c = 1 returning d) select clock_timestamp() from a",
        "select (select count(*) from (select pg_notify('a', b) from c) as d)",
    ] {
        assert_eq!(shapes(accepted, &volatile), [""; 0], "{accepted}");
    }
    assert_eq!(
        shapes(
            "select (select pg_notify('a', '') where exists (select from b)) from c",
            &volatile
        ),
        ["pg_notify in a select without from"]
    );
    assert_eq!(
        shapes("select 1; select 2", &volatile),
        ["several commands"]
    );
}
