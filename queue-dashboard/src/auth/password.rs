//! The user and the password that the environment gives.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How argon2 hashes begin.
const HASH_PREFIX: &str = "$argon2";

/// A user and a password, plain or hashed by argon2.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    password: String,
}

/// Hashes a password for `QUEUE_DASHBOARD_PASSWORD`.
///
/// # Errors
/// Returns why it could not be hashed: it is too long, or the system has no random numbers.
pub fn hash_password(password: &str) -> Result<String, String> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| error.to_string())
}

impl Credentials {
    /// # Errors
    /// Returns what is wrong with them.
    pub(crate) fn new(user: &str, password: &str) -> Result<Self, &'static str> {
        if user.is_empty() || user.contains(':') {
            return Err("the user must have a name without a colon");
        }
        if password.is_empty() {
            return Err("the password is empty");
        }
        if password.starts_with(HASH_PREFIX) && PasswordHash::new(password).is_err() {
            return Err("the password begins like an argon2 hash and is not one");
        }
        Ok(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    pub(crate) fn is_hashed(&self) -> bool {
        self.password.starts_with(HASH_PREFIX)
    }

    /// Returns whether user and password are right. Takes as long for a wrong user, and some milliseconds
    /// of processor time if the password is hashed.
    pub(crate) fn are(&self, user: &str, password: &str) -> bool {
        let user = same(user, &self.user);
        let password = match PasswordHash::new(&self.password) {
            Ok(hash) if self.is_hashed() => {
                let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
                verified.is_ok()
            }
            _ => same(password, &self.password),
        };
        user & password
    }
}

/// Compares digests, so that the time reveals nothing about the secret, not even its length.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_be_plain_or_hashed() {
        let hash = hash_password("open").unwrap();
        for password in ["open", &hash] {
            let credentials = Credentials::new("mira", password).unwrap_or_else(|e| panic!("{e}"));
            assert!(credentials.are("mira", "open"));
            assert!(!credentials.are("mira", "opem"));
            assert!(!credentials.are("lena", "open"));
            assert!(!credentials.are("mira", &hash));
        }
    }

    #[test]
    fn credentials_that_cannot_be_entered_are_refused() {
        for (user, password) in [
            ("", "x"),
            ("a:b", "x"),
            ("mira", ""),
            ("mira", "$argon2id$v=19$x"),
        ] {
            assert!(
                Credentials::new(user, password).is_err(),
                "{user} {password}"
            );
        }
    }
}
