//! Signatures of what comes back from browsers: the tokens of forms, and messages in cookies.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How often the tokens of forms change.
const STEP_SECONDS: i64 = 600;
/// How long a form may stay open.
const FORM_SECONDS_MAX: i64 = 12 * 3600;

/// Signs with a key that all dashboards behind one address share.
#[derive(Clone)]
pub(crate) struct Signer {
    key: Arc<[u8]>,
}

impl Signer {
    pub(crate) fn new(key: impl Into<Arc<[u8]>>) -> Self {
        Self { key: key.into() }
    }

    /// Returns a new key. Two ids have more than enough random bits.
    pub(crate) fn random_key() -> Vec<u8> {
        let ids = [Uuid::now_v7(), Uuid::now_v7()];
        Sha256::digest(ids.map(Uuid::into_bytes).concat()).to_vec()
    }

    /// Returns a token for the forms that a viewer sees.
    pub(crate) fn form_token(&self, viewer: &str, now: DateTime<Utc>) -> String {
        // The same for some minutes, so that a page that has not changed is the same.
        let made_at = now.timestamp() / STEP_SECONDS * STEP_SECONDS;
        let made_at = made_at.to_string();
        let signature = self.signature("form", &[viewer, &made_at]);
        format!("{made_at}.{signature}")
    }

    /// Returns whether a token was made for this viewer, and not too long ago.
    pub(crate) fn is_form_token(&self, viewer: &str, token: &str, now: DateTime<Utc>) -> bool {
        let Some((made_at, signature)) = token.split_once('.') else {
            return false;
        };
        let is_signed = self.is_signature("form", &[viewer, made_at], signature);
        let age = made_at
            .parse()
            .map(|made_at: i64| now.timestamp().checked_sub(made_at));
        // The clocks of two dashboards may differ a little.
        is_signed && matches!(age, Ok(Some(-300..=FORM_SECONDS_MAX)))
    }

    /// Signs a message to a viewer.
    pub(crate) fn message(&self, viewer: &str, message: &str) -> String {
        self.signature("message", &[viewer, message])
    }

    /// Returns whether this dashboard signed a message to a viewer.
    pub(crate) fn is_message(&self, viewer: &str, message: &str, signature: &str) -> bool {
        self.is_signature("message", &[viewer, message], signature)
    }

    fn mac(&self, purpose: &str, parts: &[&str]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        for part in [&[purpose], parts].concat() {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Some(mac)
    }

    fn signature(&self, purpose: &str, parts: &[&str]) -> String {
        let Some(mac) = self.mac(purpose, parts) else {
            return String::new();
        };
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn is_signature(&self, purpose: &str, parts: &[&str], signature: &str) -> bool {
        if !signature.len().is_multiple_of(2) {
            return false;
        }
        let bytes = (0..signature.len() / 2).map(|at| {
            let digits = signature.get(2 * at..2 * at + 2)?;
            u8::from_str_radix(digits, 16).ok()
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        let mac = self.mac(purpose, parts);
        bytes
            .zip(mac)
            .is_some_and(|(bytes, mac)| mac.verify_slice(&bytes).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_its_viewer_its_key_and_half_a_day() {
        let signer = Signer::new(b"key".to_vec());
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let later = DateTime::from_timestamp(1_000_000 + FORM_SECONDS_MAX + 1, 0).unwrap();
        let token = signer.form_token("mira", now);

        assert!(signer.is_form_token("mira", &token, now));
        assert!(!signer.is_form_token("lena", &token, now));
        assert!(!signer.is_form_token("mira", &token, later));
        assert!(!Signer::new(b"other".to_vec()).is_form_token("mira", &token, now));
        for forged in [
            "",
            ".",
            "1000000.",
            "1000000.00",
            "é.é",
            &format!("{token}0é"),
        ] {
            assert!(!signer.is_form_token("mira", forged, now), "{forged}");
        }
        assert!(!signer.is_message("mira", "x", &signer.form_token("mira", now)));
    }
}
