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
pub const REDACTED_BY_DEFAULT: [&str; 6] = [
    "password",
    "token",
    "secret",
    "authorization",
    "card",
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
    /// `token=1234` or `"token": "1234"`.
    pub fn error<'e>(&self, kind: &str, error: &'e str) -> Cow<'e, str> {
        let rules = self.rules(kind);
        let (mut text, mut copied) = (String::new(), 0);
        let mut at = 0;
        while let Some((start, end)) = next_name(error, at) {
            at = end;
            let name = error[start..end].rsplit('.').next().unwrap_or_default();
            if !rules.iter().any(|rule| rule.names(name)) {
                continue;
            }
            if let Some((from, to)) = value_after(error, end) {
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

/// Returns the place of the value after the name that ends at `end`, if there is one.
fn value_after(text: &str, end: usize) -> Option<(usize, usize)> {
    let rest = text[end..].trim_start_matches(['"', '\'', ']', '\\']);
    let rest = rest.trim_start().strip_prefix([':', '='])?.trim_start();
    let from = text.len() - rest.len();
    let length = match rest.chars().next()? {
        // serde quotes the value that it rejects: `invalid type: string "1234", expected u32`.
        _ if rest.starts_with("invalid ") => rest.find(", expected").unwrap_or(rest.len()),
        quote @ ('"' | '\'') => end_of_quoted(rest, quote),
        _ => end_of_word(rest),
    };
    (length > 0).then_some((from, from + length))
}

fn end_of_quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    let ends = |&(at, c): &(usize, char)| {
        let ends = at > 0 && c == quote && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    };
    let mut chars = text.char_indices();
    chars.find(ends).map_or(text.len(), |(at, _)| at + 1)
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
