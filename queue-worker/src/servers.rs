//! The server that a database URL names.
//!
//! sqlx looks for a password in the password file only when it parses a URL. So the URL is parsed anew once a
//! second, and a new password needs no new process.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::time::sleep;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

/// How often the options of a pool are renewed.
const RENEWAL: Duration = Duration::from_secs(1);

/// The server of a database.
#[derive(Clone)]
pub(crate) struct Servers {
    url: String,
    application: &'static str,
    /// Where the database is, without the password.
    pub(crate) place: String,
}

impl Servers {
    /// Reads a URL.
    ///
    /// # Errors
    /// Refuses a URL that is not valid.
    pub(crate) fn parse(url: &str) -> Result<Self, sqlx::Error> {
        Ok(Self {
            place: place(&url.parse()?),
            url: url.to_owned(),
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

    /// Returns how to connect now.
    pub(crate) fn options(&self) -> Result<PgConnectOptions, sqlx::Error> {
        // What sqlx warns about was logged when the URL was read first.
        let options: PgConnectOptions = with_default(&Dispatch::none(), || self.url.parse())?;
        // Poolers refuse parameters at the start of a connection that they do not know.
        let options = options.extra_float_digits(None);
        Ok(options.application_name(self.application))
    }

    /// Makes a pool whose new connections are opened as the URL says at that time.
    pub(crate) fn pool(&self, options: PgPoolOptions) -> Result<PgPool, sqlx::Error> {
        let pool = options.connect_lazy_with(self.options()?);
        tokio::spawn(self.clone().renew(pool.clone()));
        Ok(pool)
    }

    async fn renew(self, pool: PgPool) {
        while !pool.is_closed() {
            sleep(RENEWAL).await;
            if let Ok(options) = self.options() {
                pool.set_connect_options(options);
            }
        }
    }
}

fn place(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let port = options.get_port();
    format!("the database `{database}` at {host}, port {port}, as `{user}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_database_does_not_contain_its_password() {
        let servers = Servers::parse("postgres://ada:secret@db:6432/app").unwrap();
        assert_eq!(
            servers.place,
            "the database `app` at db, port 6432, as `ada`"
        );
    }
}
