//! Redaction: fields of jobs that people must not see, in arguments and in errors.
//!
//! Handlers receive all fields. Arguments and errors that are shown to people pass through here first.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

/// What is shown in place of a value.
pub const REDACTED: &str = "[redacted]";

/// The names of fields that are redacted unless others are configured.
pub const REDACTED_BY_DEFAULT: [&str; 9] = [
    "password",
    "token",
    "secret",
    "authorization",
    "api_key",
    "apikey",
    "card",
    "cvv",
    "ssn",
];

/// The most bytes of an error that a log line shows.
const LOGGED_BYTES_MAX: usize = 1024;

/// Which fields are redacted.
///
/// A field is given by its name, or by its path from the top, with dots. A name means every field whose
/// name contains its words, in any case: `token` redacts `access_token`, `accessToken` and `tokens`, but
/// not `tokenizer`. The elements of an array have the path of the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    of_all: Vec<Rule>,
    of_kinds: BTreeMap<String, Vec<Rule>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// The words of a name.
    Name(Vec<String>),
    Path(Vec<String>),
}

impl Redaction {
    /// Redacts fields of all kinds, and further ones of single kinds.
    pub fn new<'a>(
        fields: impl IntoIterator<Item = &'a str>,
        of_kinds: impl IntoIterator<Item = (&'a str, &'a [String])>,
    ) -> Self {
        let of_kinds = of_kinds.into_iter();
        Self {
            of_all: fields.into_iter().map(rule).collect(),
            of_kinds: of_kinds
                .map(|(kind, fields)| {
                    (
                        kind.to_owned(),
                        fields.iter().map(|field| rule(field)).collect(),
                    )
                })
                .collect(),
        }
    }

    /// Returns the arguments of a job without the values of redacted fields. Everything else stays as it
    /// is written, numbers included.
    pub fn args(&self, kind: &str, args: &RawValue) -> Box<RawValue> {
        let mut text = String::with_capacity(args.get().len());
        self.write(&self.rules(kind), args, &mut Vec::new(), &mut text);
        // What was written is JSON; if it were not, showing nothing is right.
        RawValue::from_string(text).unwrap_or_default()
    }

    /// Returns an error without the values that stand behind the name of a redacted field, as in
    /// `token=1234`, `"token": ["1234"]` or `--token 1234`, and without the passwords of URLs.
    pub fn error<'e>(&self, kind: &str, error: &'e str) -> Cow<'e, str> {
        let rules = self.rules(kind);
        let (mut text, mut copied) = (String::new(), 0);
        let mut at = 0;
        while let Some((start, end)) = next_name(error, at) {
            at = end;
            let name = error[start..end].rsplit('.').next().unwrap_or_default();
            let value = match rules.iter().any(|rule| rule.names(name)) {
                true => value_after(error, start, end),
                false => password_after(error, end),
            };
            if let Some((from, to)) = value {
                text.push_str(&error[copied..from]);
                text.push_str(REDACTED);
                (copied, at) = (to, to);
            }
        }
        if copied == 0 {
            return Cow::Borrowed(error);
        }
        text.push_str(&error[copied..]);
        Cow::Owned(text)
    }

    /// Returns the part of an error of a job that is logged: its first kilobyte, redacted.
    pub fn logged<'e>(&self, kind: &str, error: &'e str) -> Cow<'e, str> {
        self.error(kind, redact(error))
    }

    fn rules(&self, kind: &str) -> Vec<&Rule> {
        let of_kind = self.of_kinds.get(kind).into_iter().flatten();
        self.of_all.iter().chain(of_kind).collect()
    }

    fn write(&self, rules: &[&Rule], value: &RawValue, path: &mut Vec<String>, text: &mut String) {
        let json = value.get();
        match json.as_bytes().first() {
            Some(b'{') => self.write_object(rules, json, path, text),
            Some(b'[') => {
                let elements: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
                text.push('[');
                for (position, element) in elements.into_iter().enumerate() {
                    text.push_str(if position == 0 { "" } else { ", " });
                    self.write(rules, element, path, text);
                }
                text.push(']');
            }
            _ => text.push_str(json),
        }
    }

    fn write_object(&self, rules: &[&Rule], json: &str, path: &mut Vec<String>, text: &mut String) {
        let fields = serde_json::Deserializer::from_str(json).deserialize_map(Fields);
        text.push('{');
        for (position, (name, value)) in fields.unwrap_or_default().into_iter().enumerate() {
            text.push_str(if position == 0 { "" } else { ", " });
            text.push_str(to_raw_value(&name).unwrap_or_default().get());
            text.push_str(": ");
            path.push(name);
            if rules.iter().any(|rule| rule.applies_to(path)) {
                text.push_str(&format!("\"{REDACTED}\""));
            } else {
                self.write(rules, value, path, text);
            }
            path.pop();
        }
        text.push('}');
    }
}

impl Default for Redaction {
    fn default() -> Self {
        Self::new(REDACTED_BY_DEFAULT, [])
    }
}

fn rule(field: &str) -> Rule {
    match field.contains('.') {
        true => Rule::Path(field.split('.').map(str::to_owned).collect()),
        false => Rule::Name(words(field)),
    }
}

impl Rule {
    fn applies_to(&self, path: &[String]) -> bool {
        match self {
            Self::Name(_) => path.last().is_some_and(|name| self.names(name)),
            Self::Path(own) => own == path,
        }
    }

    /// Returns whether the name, without its path, is that of a redacted field.
    fn names(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => {
                let is_same = |(word, own): (&String, &String)| {
                    word == own || word.strip_suffix('s') == Some(own)
                };
                !own.is_empty()
                    && words(name)
                        .windows(own.len())
                        .any(|words| words.iter().zip(own).all(is_same))
            }
            Self::Path(own) => own.last().is_some_and(|last| last == name),
        }
    }
}

/// Splits `accessToken`, `access_token` and `Access-Token` into their words, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (after_lower && c.is_uppercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The fields of an object in their order, with what is written.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

/// Returns the place of the first name of a field at or after `at`, with its path.
fn next_name(text: &str, at: usize) -> Option<(usize, usize)> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let start = at + text[at..].find(is_part)?;
    let length = text[start..].find(|c| !is_part(c));
    Some((start, length.map_or(text.len(), |length| start + length)))
}

/// Returns the place of the value after the name from `start` to `end`, if there is one.
fn value_after(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let rest = text[end..].trim_start_matches(['"', '\'', ']', '\\']);
    let is_flag = text[start..].starts_with("--") && rest.starts_with([' ', ',']);
    let quoted = text[..start].strip_suffix(['"', '\'']);
    let is_in_pair = quoted.is_some_and(|before| before.trim_end_matches('\\').ends_with('('));
    let rest = rest.trim_start();
    let value = match rest.strip_prefix([':', '=']) {
        Some(value) => value,
        None if is_flag => rest.strip_prefix(',').unwrap_or(rest),
        None if is_in_pair => rest.strip_prefix(',')?,
        None => return None,
    };
    let value = value.trim_start();
    let from = text.len() - value.len();
    let length = match value.starts_with("invalid ") {
        // serde quotes the value that it rejects: `invalid type: string "1234", expected u32`.
        true => value.find(", expected").unwrap_or(value.len()),
        false => end_of_value(value),
    };
    (length > 0).then_some((from, from + length))
}

/// Returns the place of the password in a URL whose scheme ends at `end`.
fn password_after(text: &str, end: usize) -> Option<(usize, usize)> {
    let rest = text[end..].strip_prefix("://")?;
    let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"');
    let authority = rest.split(ends).next()?;
    let (user, password) = authority.rsplit_once('@')?.0.split_once(':')?;
    let from = end + "://".len() + user.len() + 1;
    Some((from, from + password.len()))
}

/// A value is `"quoted"`, `[bracketed]`, a word before either, as in `Some("x")`, or a word.
fn end_of_value(text: &str) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let word = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let is_type = text.starts_with(char::is_uppercase);
    let open = match text[word..].strip_prefix(' ') {
        Some(rest) if is_type && rest.starts_with(['{', '[']) => word + 1,
        _ => word,
    };
    let rest = &text[open..];
    if rest.starts_with(['[', '{', '(']) {
        let end = open + end_of_bracketed(rest);
        return end + end_of_word(&text[end..]);
    }
    let is_quoted = rest.trim_start_matches('\\').starts_with(['"', '\'']);
    match is_quoted && word <= "b".len() {
        true => open + end_of_quoted(rest),
        false => end_of_word(text),
    }
}

/// Returns where the bracket closes with which the text begins.
fn end_of_bracketed(text: &str) -> usize {
    let (mut closing, mut at) = (Vec::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '[' => closing.push(']'),
            '{' => closing.push('}'),
            '(' => closing.push(')'),
            '"' | '\'' | '\\' => {
                at += end_of_quoted(&text[at..]);
                continue;
            }
            _ if closing.last() == Some(&c) => drop(closing.pop()),
            _ => {}
        }
        at += c.len_utf8();
        if closing.is_empty() {
            return at;
        }
    }
    text.len()
}

/// Returns where the quote closes with which the text begins, after the backslashes of outer quotes.
///
/// With `n` backslashes before the opening quote, there are `n` before the closing one, after a multiple of
/// `2n + 2` that stand for backslashes of the value.
fn end_of_quoted(text: &str) -> usize {
    let count = |text: &str| text.len() - text.trim_end_matches('\\').len();
    let outer = text.len() - text.trim_start_matches('\\').len();
    let Some(quote @ ('"' | '\'')) = text[outer..].chars().next() else {
        return outer;
    };
    let inner = &text[outer + 1..];
    let mut quotes = inner.match_indices(quote);
    let end = quotes.find(|(at, _)| count(&inner[..*at]) % (2 * outer + 2) == outer);
    end.map_or(text.len(), |(at, _)| outer + 1 + at + 1)
}

/// An authorization has two words: `Bearer 1234`.
fn end_of_word(text: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | ')' | ']' | '}' | '"');
    let first = text.find(ends).unwrap_or(text.len());
    match text[..first].to_ascii_lowercase().as_str() {
        "bearer" | "basic" | "token" if text[first..].starts_with(' ') => {
            let rest = &text[first + 1..];
            first + 1 + rest.find(ends).unwrap_or(rest.len())
        }
        _ => first,
    }
}

/// Returns the part of an error that is logged, its first kilobyte. Every error that is logged passes
/// through here, those of jobs through [`Redaction::logged`].
pub fn redact(error: &str) -> &str {
    &error[..error.floor_char_boundary(LOGGED_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(redaction: &Redaction, kind: &str, json: &str) -> String {
        let json = RawValue::from_string(json.to_owned()).unwrap();
        redaction.args(kind, &json).get().to_owned()
    }

    #[test]
    fn a_name_redacts_fields_at_any_depth_and_leaves_the_rest_as_it_is_written() {
        let json = r#"{"user": {"name": "Ada", "Password": {"old": 1}}, "sum": 123456789012345678901234567890.10,
            "cards": [1, 2], "list": [[{"apiToken": "x", "tokenizer": "y"}]], "discard": null}"#;
        assert_eq!(
            args(&Redaction::default(), "any", json),
            r#"{"user": {"name": "Ada", "Password": "[redacted]"}, "sum": 123456789012345678901234567890.10, "cards": "[redacted]", "list": [[{"apiToken": "[redacted]", "tokenizer": "y"}]], "discard": null}"#
        );
        for scalar in ["null", "\"token\"", "7"] {
            assert_eq!(args(&Redaction::default(), "any", scalar), scalar);
        }
    }

    #[test]
    fn a_path_redacts_one_field_of_its_kind() {
        let of_import = ["to.address".to_owned(), "api key".to_owned()];
        let redaction = Redaction::new([], [("import", &of_import[..])]);
        let json = r#"{"to": [{"address": 1}], "address": 2, "token": 3, "apiKey": 4}"#;
        assert_eq!(
            args(&redaction, "import", json),
            r#"{"to": [{"address": "[redacted]"}], "address": 2, "token": 3, "apiKey": "[redacted]"}"#
        );
        assert_eq!(args(&redaction, "other", json), json);
    }

    #[test]
    fn values_behind_a_redacted_name_are_redacted_in_errors() {
        let redaction = Redaction::default();
        for (error, shown) in [
            ("no route to host", "no route to host"),
            ("GET /?token=ab%20c&page=2", "GET /?token=[redacted]&page=2"),
            (
                r#"answered {"secret": "a\"b", "id": 7}"#,
                r#"answered {"secret": [redacted], "id": 7}"#,
            ),
            (
                "Authorization: Bearer abc.def, retried",
                "Authorization: [redacted], retried",
            ),
            (
                "user.password: invalid type: string \"hunter2\", expected i64",
                "user.password: [redacted], expected i64",
            ),
            ("the token has expired", "the token has expired"),
            ("password:", "password:"),
            ("card='unclosed", "card=[redacted]"),
            (
                r#"{"token": ["S3CRETa", "b]"], "id": 7}"#,
                r#"{"token": [redacted], "id": 7}"#,
            ),
            (
                r#"{"password": {"value": "x", "old": ["y"]}}"#,
                r#"{"password": [redacted]}"#,
            ),
            (
                r#"password: Some("x"), id: 7"#,
                "password: [redacted], id: 7",
            ),
            (
                r#"Login { password: Secret { value: "x" }, id: 7 }"#,
                "Login { password: [redacted], id: 7 }",
            ),
            ("password = [a, b] refused", "password = [redacted] refused"),
            ("password = (a, [b, c)", "password = [redacted]"),
            (r#"token: b"x", id"#, "token: [redacted], id"),
            (
                r#"body "{\"token\": \"a\\\"b\", \"id\": 7}""#,
                r#"body "{\"token\": [redacted], \"id\": 7}""#,
            ),
            (
                r#"[("password", "x"), ("id", "7")]"#,
                r#"[("password", [redacted]), ("id", "7")]"#,
            ),
            (
                "curl --password x --verbose",
                "curl --password [redacted] --verbose",
            ),
            (
                r#""curl" "--token" "x y" "-v""#,
                r#""curl" "--token" [redacted] "-v""#,
            ),
            (
                "postgres://app:hunter2@db:5432/app is away",
                "postgres://app:[redacted]@db:5432/app is away",
            ),
            (
                "http://db:80/a@b?apikey=1",
                "http://db:80/a@b?apikey=[redacted]",
            ),
            ("token=[redacted]", "token=[redacted]"),
            (
                r#"GET "/?token=abc" answered "no""#,
                r#"GET "/?token=[redacted]" answered "no""#,
            ),
            ("`--token` is missing", "`--token` is missing"),
            (
                "a login (password, token) failed",
                "a login (password, token) failed",
            ),
        ] {
            assert_eq!(redaction.error("any", error), shown);
        }
    }

    #[test]
    fn a_long_error_is_cut_between_two_characters() {
        assert_eq!(redact("no"), "no");
        let long = format!("a{}", "é".repeat(LOGGED_BYTES_MAX));
        assert_eq!(redact(&long).len(), LOGGED_BYTES_MAX - 1);
    }
}
