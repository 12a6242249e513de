//! Encryption at rest of the values of a job: arguments, results of steps, outputs and cursors.
//!
//! An encrypted value is a JSON object, `{"$encrypted": {"key": ID, "data": BASE64}}`. The data are a random
//! nonce of 12 bytes, the ciphertext of AES-256-GCM, and its tag of 16 bytes. The kind and the place of the
//! value are authenticated with it, so that it cannot be read anywhere else. The id of a job does not exist
//! yet when its arguments are encrypted, so those of two jobs of one kind can be exchanged.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aes_gcm::aead::{Aead as _, Generate as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

/// How an encrypted value begins, as Postgres writes `jsonb`.
const BEGINNING: &str = r#"{"$encrypted": {"#;

const NONCE_BYTES: usize = 12;

/// The most characters of the id of a key.
const ID_MAX: usize = 40;

/// The keys with which values are encrypted: the first encrypts, and all decrypt.
///
/// They are read from a text such as `2026-01:BASE64,2025-06:BASE64`, of ids and 32 random bytes each. The
/// `queue` program reads that of `QUEUE_ENCRYPTION_KEYS`.
///
/// ```
/// # use queue_core::{Keys, Queue};
/// # fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let keys: Keys = std::env::var("QUEUE_ENCRYPTION_KEYS")?.parse()?;
/// let queue = Queue::new(pool).encryption_keys(keys);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Keys(Arc<[Key]>);

struct Key {
    id: String,
    cipher: Aes256Gcm,
}

/// Why keys are invalid. The message contains nothing of a key.
#[derive(Debug, thiserror::Error)]
#[error(
    "QUEUE_ENCRYPTION_KEYS is invalid: {0}; write `id:key,id:key`, the newest key first, and make keys with \
     `openssl rand -base64 32`"
)]
pub struct InvalidKeys(String);

/// The place of a value, beside the kind of its job.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The arguments of a job, or of a recurring job.
    Args,
    /// The result of a step: the job, the name of the step, and its number among those of the name.
    Step(i64, &'a str, i16),
    /// The output or a cursor: the job, and the name.
    Progress(i64, &'a str),
}

/// Why an encrypted value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// This process does not have the key.
    #[error(
        "encrypted with the key `{0}`, which this process does not have: add it to QUEUE_ENCRYPTION_KEYS"
    )]
    UnknownKey(String),
    /// It is not what was encrypted here.
    #[error(
        "not readable with the key `{0}`: the value was changed or moved in the database, or this process has \
         another key of the same id"
    )]
    Damaged(String),
}

impl From<Unopened> for sqlx::Error {
    fn from(unopened: Unopened) -> Self {
        Self::Decode(unopened.into())
    }
}

#[derive(Deserialize)]
struct Sealed<'a> {
    #[serde(rename = "$encrypted", borrow)]
    encrypted: Encrypted<'a>,
}

#[derive(Deserialize)]
struct Encrypted<'a> {
    key: &'a str,
    data: &'a str,
}

/// Returns whether a value is encrypted.
pub fn is_sealed(json: &str) -> bool {
    json.starts_with(BEGINNING)
}

/// Returns the id of the key of an encrypted value.
pub(crate) fn key_of(json: &str) -> Option<&str> {
    if !is_sealed(json) {
        return None;
    }
    let sealed = serde_json::from_str::<Sealed<'_>>(json);
    Some(sealed.map_or("?", |sealed| sealed.encrypted.key))
}

/// Returns an error of reading JSON, without the values that it repeats if they are encrypted: errors are not.
pub fn without_values(is_encrypted: bool, error: serde_json::Error) -> serde_json::Error {
    match is_encrypted {
        true => serde_json::Error::custom(format_args!(
            "line {}, column {} (the value is encrypted)",
            error.line(),
            error.column()
        )),
        false => error,
    }
}

impl Keys {
    /// Returns the id of the key that encrypts.
    pub fn first(&self) -> &str {
        &self.0[0].id
    }

    /// Encrypts JSON with the first key.
    #[doc(hidden)]
    pub fn seal(&self, kind: &str, place: Place<'_>, json: &str) -> String {
        let Key { id, cipher } = &self.0[0];
        let nonce = Nonce::generate();
        let aad = place.of_kind(kind);
        let payload = Payload {
            msg: json.as_bytes(),
            aad: aad.as_bytes(),
        };
        let Ok(ciphertext) = cipher.encrypt(&nonce, payload) else {
            unreachable!("a value of less than 64 GiB can be encrypted");
        };
        let data = STANDARD.encode([&nonce[..], &ciphertext].concat());
        format!(r#"{BEGINNING}"key": "{id}", "data": "{data}"}}}}"#)
    }

    fn open(&self, kind: &str, place: Place<'_>, sealed: &Encrypted<'_>) -> Option<Box<RawValue>> {
        let key = self.0.iter().find(|key| key.id == sealed.key)?;
        let data = STANDARD.decode(sealed.data).ok()?;
        let (nonce, ciphertext) = data.split_at_checked(NONCE_BYTES)?;
        let aad = place.of_kind(kind);
        let payload = Payload {
            msg: ciphertext,
            aad: aad.as_bytes(),
        };
        let nonce = nonce.try_into().ok()?;
        let json = key.cipher.decrypt(nonce, payload).ok()?;
        RawValue::from_string(String::from_utf8(json).ok()?).ok()
    }

    fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id == id)
    }
}

/// Decrypts a value. Returns nothing if it is not encrypted.
pub(crate) fn open(
    keys: Option<&Keys>,
    kind: &str,
    place: Place<'_>,
    json: &str,
) -> Result<Option<Box<RawValue>>, Unopened> {
    let Some(id) = key_of(json) else {
        return Ok(None);
    };
    let Some(keys) = keys.filter(|keys| keys.has(id)) else {
        return Err(Unopened::UnknownKey(id.to_owned()));
    };
    let damaged = || Unopened::Damaged(id.to_owned());
    let sealed: Sealed<'_> = serde_json::from_str(json).map_err(|_not_ours| damaged())?;
    let opened = keys.open(kind, place, &sealed.encrypted);
    opened.map(Some).ok_or_else(damaged)
}

impl Place<'_> {
    /// Returns what is authenticated. No name has a null character.
    fn of_kind(self, kind: &str) -> String {
        match self {
            Self::Args => format!("{kind}\0args"),
            Self::Step(job, name, number) => format!("{kind}\0step\0{job}\0{name}\0{number}"),
            Self::Progress(job, name) => format!("{kind}\0progress\0{job}\0{name}"),
        }
    }
}

impl FromStr for Keys {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, InvalidKeys> {
        let mut keys: Vec<Key> = Vec::new();
        for (entry, number) in text.split(',').zip(1..) {
            let key = Key::parse(entry.trim())
                .map_err(|problem| InvalidKeys(format!("the key number {number} {problem}")))?;
            if keys.iter().any(|other| other.id == key.id) {
                let id = key.id;
                return Err(InvalidKeys(format!(
                    "there are two keys with the id `{id}`"
                )));
            }
            keys.push(key);
        }
        Ok(Self(keys.into()))
    }
}

impl Key {
    /// Reads an id and a key. Errors do not repeat the text, which may be a key without an id.
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let (id, key) = entry.split_once(':').ok_or("has no id before a `:`")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=ID_MAX).contains(&id.len()) || !id.bytes().all(is_plain) {
            return Err("has an id that is not 1 to 40 letters, digits, and `-_.`");
        }
        let key = STANDARD.decode(key).map_err(|_| "is not base64")?;
        let cipher = Aes256Gcm::new_from_slice(&key).map_err(|_| "does not have 32 bytes")?;
        Ok(Self {
            id: id.to_owned(),
            cipher,
        })
    }
}

/// Shows the ids only.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.id))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "new:HxQVFhcYGRobHB0eHwABAgMEBQYHCAkKCwwNDg8QERI=";

    fn keys(text: &str) -> Keys {
        text.parse().unwrap()
    }

    fn opened(keys: &Keys, kind: &str, place: Place<'_>, json: &str) -> Result<String, Unopened> {
        open(Some(keys), kind, place, json).map(|json| json.unwrap().get().to_owned())
    }

    #[test]
    fn a_value_is_read_at_its_place_only() {
        let keys = keys(NEW);
        let place = Place::Step(7, "charge", 1);
        let sealed = keys.seal("pay", place, r#"{"card": 4}"#);
        assert_eq!(
            opened(&keys, "pay", place, &sealed).unwrap(),
            r#"{"card": 4}"#
        );
        assert_ne!(sealed, keys.seal("pay", place, r#"{"card": 4}"#));
        for (kind, place) in [
            ("other", place),
            ("pay", Place::Args),
            ("pay", Place::Step(8, "charge", 1)),
            ("pay", Place::Step(7, "charge", 2)),
            ("pay", Place::Step(7, "refund", 1)),
            ("pay", Place::Progress(7, "charge")),
        ] {
            let moved = opened(&keys, kind, place, &sealed);
            assert_eq!(moved, Err(Unopened::Damaged("new".to_owned())), "{place:?}");
        }
    }

    #[test]
    fn a_value_that_was_changed_is_not_read() {
        let keys = keys(NEW);
        let sealed = keys.seal("pay", Place::Args, "[1, 2, 3]");
        let start = sealed.find("data\": \"").unwrap() + 8;
        for at in start..sealed.len() - 3 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                opened(&keys, "pay", Place::Args, &changed).is_err(),
                "{changed}"
            );
        }
        let short = r#"{"$encrypted": {"key": "new", "data": "AAAA"}}"#;
        assert!(opened(&keys, "pay", Place::Args, short).is_err());
    }

    #[test]
    fn all_keys_decrypt_and_an_unknown_one_is_named() {
        let sealed = keys(OLD).seal("pay", Place::Args, "1");
        let both = keys(&format!("{NEW},{OLD}"));
        assert_eq!(both.first(), "new");
        assert_eq!(opened(&both, "pay", Place::Args, &sealed).unwrap(), "1");
        let unknown = Err(Unopened::UnknownKey("old".to_owned()));
        assert_eq!(opened(&keys(NEW), "pay", Place::Args, &sealed), unknown);
        assert_eq!(
            open(None, "pay", Place::Args, "1").map(|none| none.is_none()),
            Ok(true)
        );
    }

    #[test]
    fn invalid_keys_are_refused_without_showing_them() {
        let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        for (text, problem) in [
            (String::new(), "number 1 has no id"),
            (format!("{secret}="), "number 1 has no id"),
            (format!("{NEW},"), "number 2 has no id"),
            (format!("a b:{secret}="), "number 1 has an id that"),
            (format!("{NEW},b:{secret}"), "number 2 is not base64"),
            ("a:AAAA".to_owned(), "number 1 does not have 32 bytes"),
            (format!("{OLD},{OLD}"), "two keys with the id `old`"),
        ] {
            let error = text.parse::<Keys>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
            assert!(
                error.contains("QUEUE_ENCRYPTION_KEYS") && !error.contains(secret),
                "{error}"
            );
        }
        assert_eq!(
            format!("{:?}", keys(&format!("{NEW},{OLD}"))),
            r#"["new", "old"]"#
        );
    }
}
