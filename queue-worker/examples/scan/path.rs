//! Paths with any bytes, in JSON and on a terminal.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most bytes of a folder's name that name a tenant.
const TENANT_BYTES: usize = 200;

/// A path as the argument of a job. A path that is not UTF-8 is written as `{"hex": "…"}`, because
/// JSON is Unicode; any other as a string.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Spelling", into = "Spelling")]
pub(crate) struct AnyPath(pub(crate) PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelling {
    Text(String),
    Bytes { hex: String },
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not hexadecimal: two digits for each byte of a path are expected")]
struct NotHex(String);

impl From<AnyPath> for Spelling {
    fn from(AnyPath(path): AnyPath) -> Self {
        match path.into_os_string().into_string() {
            Ok(text) => Self::Text(text),
            Err(other) => Self::Bytes {
                hex: hex(other.as_bytes()),
            },
        }
    }
}

impl TryFrom<Spelling> for AnyPath {
    type Error = NotHex;

    fn try_from(spelling: Spelling) -> Result<Self, NotHex> {
        match spelling {
            Spelling::Text(text) => Ok(Self(text.into())),
            Spelling::Bytes { hex } => match from_hex(&hex) {
                Some(bytes) => Ok(Self(OsString::from_vec(bytes).into())),
                None => Err(NotHex(hex)),
            },
        }
    }
}

/// Writes bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    pairs
        .iter()
        .map(byte)
        .collect::<Option<_>>()
        .filter(|_| rest.is_empty())
}

/// Makes a path from its bytes.
pub(crate) fn from_bytes(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// Returns the tenant that a file belongs to: the topmost folder on its path, or `.` if it is in none.
pub(crate) fn tenant_of(file: &Path) -> String {
    let mut parts = file.components();
    let tenant = match (parts.next(), parts.next()) {
        (Some(top), Some(_)) => shown(Path::new(top.as_os_str())),
        _ => ".".to_owned(),
    };
    let end = tenant.floor_char_boundary(TENANT_BYTES);
    tenant[..end].to_owned()
}

/// Writes a path on one line, without control characters.
pub(crate) fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// Writes a text on one line, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let (plain, escaped) = if c.is_control() {
                (None, Some(c.escape_default()))
            } else {
                (Some(c), None)
            };
            plain.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}
