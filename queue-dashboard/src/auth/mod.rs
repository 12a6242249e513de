//! Authentication. Without a password or a check of the application, every request is refused.

mod attempts;
mod password;
mod viewer;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use attempts::Attempts;
pub(crate) use attempts::{PERIOD, WRONG_MAX};
pub(crate) use password::Credentials;
pub use password::hash_password;
pub use viewer::{Role, Viewer};

/// How many hashed passwords are checked at once; each takes memory and a processor.
const HASHES_AT_ONCE: usize = 2;

/// The application's own check: returns the viewer, or nothing to refuse the request.
pub(crate) type Check =
    Arc<dyn Fn(Parts) -> BoxFuture<'static, Option<Viewer>> + Send + Sync + 'static>;

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Neither a user and password nor a check of the host is configured.
    ToAll,
    /// The application's check refused it.
    ToThem,
    /// It has no password.
    Unasked,
    /// User or password is wrong; so many more tries are allowed.
    Wrong { left: u32 },
    /// Too many were wrong.
    TooMany,
}

impl Closed {
    fn wrong(left: u32) -> Self {
        match left {
            0 => Self::TooMany,
            left => Self::Wrong { left },
        }
    }
}

/// The gate in front of all pages.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) check: Option<Check>,
    pub(crate) credentials: Option<Credentials>,
    /// The digest of the token of programs.
    pub(crate) token: Option<[u8; 32]>,
    pub(crate) role: Option<Role>,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    attempts: Attempts,
    /// The digest of the last credentials that were right, because hashing them takes long.
    accepted: Mutex<Option<[u8; 32]>>,
    hashing: Option<Arc<Semaphore>>,
}

impl Gate {
    /// Makes ready for hashed passwords.
    pub(crate) fn closed() -> Self {
        Self {
            hashing: Some(Arc::new(Semaphore::new(HASHES_AT_ONCE))),
            ..Self::default()
        }
    }

    /// Returns the viewer, or why the request is refused.
    pub(crate) async fn admit(&self, parts: &Parts) -> Result<Viewer, Closed> {
        if let (Some(token), Some(given)) = (&self.token, bearer(&parts.headers)) {
            return self.admit_program(parts, token, given);
        }
        if let Some(check) = &self.check {
            return check(parts.clone()).await.ok_or(Closed::ToThem);
        }
        let Some(credentials) = &self.credentials else {
            return Err(if self.token.is_some() {
                Closed::Unasked
            } else {
                Closed::ToAll
            });
        };
        let Some((user, password)) = basic(&parts.headers) else {
            return Err(Closed::Unasked);
        };
        let (address, now) = (self.address(parts), Instant::now());
        let Some(left) = self.attempts.begin(address, now) else {
            return Err(Closed::TooMany);
        };
        if self.are_right(credentials, user, password).await {
            self.attempts.was_right(address);
            let role = self.role.unwrap_or(Role::Admin);
            return Ok(Viewer::new(credentials.user.clone(), role));
        }
        Err(Closed::wrong(left))
    }

    /// Admits a program that has the token.
    fn admit_program(
        &self,
        parts: &Parts,
        token: &[u8; 32],
        given: &str,
    ) -> Result<Viewer, Closed> {
        let (address, now) = (self.address(parts), Instant::now());
        let left = self.attempts.begin(address, now).ok_or(Closed::TooMany)?;
        let digest: [u8; 32] = Sha256::digest(given).into();
        if digest.ct_eq(token).into() {
            self.attempts.was_right(address);
            return Ok(Viewer::new("token", Role::Viewer));
        }
        Err(Closed::wrong(left))
    }

    async fn are_right(&self, credentials: &Credentials, user: String, password: String) -> bool {
        let digest: [u8; 32] = Sha256::digest(format!("{user}\0{password}")).into();
        if self.was_accepted(&digest) {
            return true;
        }
        let are = {
            let credentials = credentials.clone();
            move || credentials.are(&user, &password)
        };
        let are = match &self.hashing {
            Some(hashing) if credentials.is_hashed() => {
                let Ok(_permit) = hashing.acquire().await else {
                    return false;
                };
                tokio::task::spawn_blocking(are).await.unwrap_or(false)
            }
            _ => are(),
        };
        if are {
            *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
        }
        are
    }

    fn was_accepted(&self, digest: &[u8; 32]) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.is_some_and(|accepted| accepted.ct_eq(digest).into())
    }

    /// Returns the address of the peer. If that is a trusted proxy, it is the last address in
    /// `X-Forwarded-For` that is none.
    fn address(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
        let is_trusted = |address: &IpAddr| self.trusted_proxies.contains(&address.to_canonical());
        if !is_trusted(&peer) {
            return Some(peer);
        }
        let forwarded = parts.headers.get_all("x-forwarded-for").iter();
        let forwarded: Vec<&str> = forwarded
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let mut addresses = forwarded
            .iter()
            .rev()
            .map_while(|text| text.trim().parse().ok());
        addresses
            .find(|address| !is_trusted(address))
            .or(Some(peer))
    }
}

/// Reads the token of a program.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Reads user and password from the header of HTTP basic.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(peer: &str, forwarded: &[&str]) -> Parts {
        let mut request = Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let peer: SocketAddr = peer.parse().unwrap();
        parts.extensions.insert(ConnectInfo(peer));
        parts
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        let gate = Gate {
            trusted_proxies: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            ..Gate::default()
        };
        for (peer, forwarded, address) in [
            ("192.0.2.9:1", &["198.51.100.7"][..], "192.0.2.9"),
            (
                "10.0.0.1:1",
                &["203.0.113.5, 198.51.100.7, 10.0.0.2"],
                "198.51.100.7",
            ),
            (
                "10.0.0.1:1",
                &["203.0.113.5", "198.51.100.7"],
                "198.51.100.7",
            ),
            ("10.0.0.1:1", &["198.51.100.7, nonsense"], "10.0.0.1"),
            ("10.0.0.1:1", &[], "10.0.0.1"),
        ] {
            let found = gate.address(&parts(peer, forwarded));
            assert_eq!(
                found,
                Some(address.parse().unwrap()),
                "{peer} {forwarded:?}"
            );
        }
    }
}
