//! The servers that a database URL names.
//!
//! A URL may name several, in the form that libpq accepts:
//! `postgres://app@db1,db2:5433/app?target_session_attrs=read-write`. The first that takes writes is used, or
//! without the parameter the first that answers, until it does so no more.
//!
//! sqlx knows no lists, and looks for a password in the password file only when it parses a URL. So there is a URL for
//! each server, which is parsed anew once a second.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, Row as _};
use tokio::time::sleep;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

use crate::connection::{is_same_server, timely};

/// How often the options of a pool are renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// How long a server may take to answer before the next one is tried.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

const ATTRIBUTE: &str = "target_session_attrs=";

/// The servers of a database, of which one is used.
#[derive(Clone)]
pub(crate) struct Servers {
    /// The URL of each.
    urls: Vec<String>,
    /// Whether only one that takes writes is used.
    for_writes: bool,
    application: &'static str,
    /// Where the database is, without the password.
    pub(crate) place: String,
}

impl Servers {
    /// Reads a URL.
    ///
    /// # Errors
    /// Refuses a URL that is not valid, and one whose password may reach into the rest of the URL.
    pub(crate) fn parse(url: &str) -> Result<Self, sqlx::Error> {
        check_end_of_password(url)?;
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (attributes, query): (Vec<&str>, Vec<&str>) = query
            .split('&')
            .partition(|parameter| parameter.starts_with(ATTRIBUTE));
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let query = query.join("&");
        let url = |host| format!("{scheme}://{user}{host}{path}?{query}");
        let urls: Vec<String> = hosts.split(',').map(url).collect();
        let options: Result<Vec<_>, _> = urls.iter().map(|url| url.parse()).collect();
        Ok(Self {
            place: place(&options?),
            for_writes: for_writes(&attributes)?,
            urls,
            application: "queue",
        })
    }

    /// Sets the name that connections have at the server.
    pub(crate) fn application(self, application: &'static str) -> Self {
        Self {
            application,
            ..self
        }
    }

    /// Returns how to connect now. Looks for the server to use, if there may be a choice.
    pub(crate) async fn find(&self) -> Result<PgConnectOptions, sqlx::Error> {
        if self.is_fixed() {
            return self.options(0);
        }
        let (conn, server) = self.connect().await?;
        let _closed_or_broken = conn.close().await;
        self.options(server)
    }

    /// Makes a pool whose new connections lead to the server to use at that time.
    pub(crate) async fn pool(&self, options: PgPoolOptions) -> Result<PgPool, sqlx::Error> {
        let options = match self.for_writes {
            true => options.after_connect(|conn, _| Box::pin(check_writes(conn))),
            false => options,
        };
        let now = match self.find().await {
            Ok(now) => now,
            Err(_none_yet) => self.options(0)?,
        };
        let pool = options.connect_lazy_with(now);
        tokio::spawn(self.clone().renew(pool.clone()));
        Ok(pool)
    }

    async fn renew(self, pool: PgPool) {
        let mut watched = None;
        while !pool.is_closed() {
            sleep(RENEWAL).await;
            // An error is reported by those that need a connection.
            let Ok(options) = self.renewed(&mut watched).await else {
                continue;
            };
            if !is_same_server(&options, &pool.connect_options()) {
                let (host, port) = (host(&options), options.get_port());
                tracing::info!(host, port, "uses another server of the database");
            }
            pool.set_connect_options(options);
        }
    }

    /// Returns how to connect now. If there may be a choice, keeps a connection, which shows when to look again.
    async fn renewed(
        &self,
        watched: &mut Option<(PgConnection, usize)>,
    ) -> Result<PgConnectOptions, sqlx::Error> {
        if self.is_fixed() {
            return self.options(0);
        }
        if let Some((conn, _)) = watched
            && timely(ANSWER_TIMEOUT, self.check(conn)).await.is_err()
        {
            *watched = None;
        }
        let (_, server) = match watched {
            Some(watched) => watched,
            None => watched.insert(self.connect().await?),
        };
        self.options(*server)
    }

    fn is_fixed(&self) -> bool {
        self.urls.len() == 1 && !self.for_writes
    }

    /// Connects to the server to use, and returns its number too.
    async fn connect(&self) -> Result<(PgConnection, usize), sqlx::Error> {
        let mut server = 0;
        loop {
            let connecting = async {
                let mut conn = self.options(server)?.connect().await?;
                self.check(&mut conn).await?;
                Ok(conn)
            };
            match timely(ANSWER_TIMEOUT, connecting).await {
                Ok(conn) => return Ok((conn, server)),
                Err(error) if server + 1 == self.urls.len() => return Err(error),
                Err(_) => server += 1,
            }
        }
    }

    /// Returns an error if a connection is broken, or its server is not one to use.
    async fn check(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        match self.for_writes {
            true => check_writes(conn).await,
            false => conn.ping().await,
        }
    }

    /// Returns how to connect to a server now.
    fn options(&self, server: usize) -> Result<PgConnectOptions, sqlx::Error> {
        let url = &self.urls[server];
        // What sqlx warns about was logged when the URL was read first.
        let options: PgConnectOptions = with_default(&Dispatch::none(), || url.parse())?;
        // Poolers refuse parameters at the start of a connection that they do not know.
        let options = options.extra_float_digits(None);
        Ok(options.application_name(self.application))
    }
}

async fn check_writes(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::raw_sql("show transaction_read_only").fetch_one(conn);
    match row.await?.try_get(0)? {
        "off" => Ok(()),
        _ => Err(io::Error::other("the server takes no writes").into()),
    }
}

fn for_writes(attributes: &[&str]) -> Result<bool, sqlx::Error> {
    match attributes.last().map(|last| &last[ATTRIBUTE.len()..]) {
        Some("read-write") => Ok(true),
        Some("any") | None => Ok(false),
        Some(other) => {
            let message = format!("{ATTRIBUTE}{other} is unknown: use `read-write` or `any`");
            Err(sqlx::Error::Configuration(message.into()))
        }
    }
}

/// Refuses a URL in which a second `@`, or one of `/?#` before the only one, may be a part of the password.
/// Otherwise other parts of the password would be shown as host, port and database, and the host connected to.
fn check_end_of_password(url: &str) -> Result<(), sqlx::Error> {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    match rest.rsplit_once('@') {
        Some((user, _)) if user.contains(['@', '/', '?', '#']) => {
            let message = "it is not clear where its password ends";
            Err(sqlx::Error::Configuration(message.into()))
        }
        _ => Ok(()),
    }
}

fn place(servers: &[PgConnectOptions]) -> String {
    let at = |server: &PgConnectOptions| format!("{}, port {}", host(server), server.get_port());
    let at: Vec<String> = servers.iter().map(at).collect();
    let user = servers[0].get_username();
    let database = servers[0].get_database().unwrap_or(user);
    let at = at.join(", or ");
    format!("the database `{database}` at {at}, as `{user}`")
}

fn host(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_server_or_several() {
        let cases = [
            (
                "postgres://ada:secret@db:6432/app",
                "the database `app` at db, port 6432, as `ada`",
            ),
            (
                "postgresql://ada:secret@db1,db2:6432/app?sslmode=disable&target_session_attrs=read-write",
                "the database `app` at db1, port 5432, or db2, port 6432, as `ada`",
            ),
            (
                "postgres://ada@%2Frun%2Fone,[::1]:99/?target_session_attrs=any",
                "the database `ada` at /run/one, port 5432, or [::1], port 99, as `ada`",
            ),
        ];
        for (url, place) in cases {
            let servers = Servers::parse(url).unwrap();
            assert_eq!(servers.place, place);
            assert_eq!(servers.for_writes, url.ends_with("read-write"));
        }
    }

    #[test]
    fn a_password_that_is_not_encoded_is_refused_instead_of_taken_for_a_host() {
        for password in [
            "s#cret", "s/cret", "s@cret", "s?cret", "1#2", "1/2", "1@2", "1?2", "1/x?y=z",
        ] {
            for rest in ["db/app", "db1,db2:5433/app?sslmode=require", "db"] {
                let url = format!("postgres://ada:{password}@{rest}");
                let refused = Servers::parse(&url).err().expect(&url).to_string();
                assert!(
                    refused.ends_with("not clear where its password ends"),
                    "{refused}"
                );
            }
        }
        for password in ["s%23%2F%40%3F%25cret", "s:cret", ""] {
            let url = format!("postgres://ada:{password}@db/app");
            let servers = Servers::parse(&url).unwrap();
            assert_eq!(
                servers.place,
                "the database `app` at db, port 5432, as `ada`"
            );
        }
    }

    #[test]
    fn other_session_attributes_are_refused() {
        let refused = Servers::parse("postgres://db1,db2/app?target_session_attrs=standby").err();
        assert_eq!(
            refused.unwrap().to_string(),
            "error with configuration: target_session_attrs=standby is unknown: use `read-write` or `any`"
        );
    }
}
