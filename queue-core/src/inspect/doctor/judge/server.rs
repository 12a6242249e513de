//! Findings about the server.

use super::super::Finding;
use super::super::server::{Holder, Server, Table};
use super::{error, warning};
use crate::inspect::{grouped, spell_duration as spell};

pub(in super::super) fn judge(server: &Server) -> Vec<Finding> {
    let mut findings = settings(server);
    findings.extend(takes_no_writes(server));
    findings.extend(encoding(&server.encoding));
    findings.extend(connections(server));
    findings.extend(ids(server));
    findings.extend(server.holders.iter().map(holder));
    findings.extend(server.tables.iter().map(table));
    findings
}

fn settings(server: &Server) -> Vec<Finding> {
    let destroys = "a crash of the machine can destroy the database";
    let loses =
        "a crash loses jobs that were enqueued moments before, and runs finished ones again";
    let slows = "dead rows pile up and every claim slows down";
    let blinds = "autovacuum does not see dead rows: they pile up, and every claim slows down";
    let is_synchronous = server.synchronous_commit != "off";
    let settings = [
        ("fsync", server.fsync, destroys),
        ("full_page_writes", server.full_page_writes, destroys),
        ("synchronous_commit", is_synchronous, loses),
        ("autovacuum", server.autovacuum, slows),
        ("track_counts", server.track_counts, blinds),
    ];
    let off = settings.into_iter().filter(|(_, is_on, _)| !is_on);
    off.map(|(name, _, why)| {
        warning(
            "server_setting",
            format!("the server runs with {name} = off"),
            why,
            format!("set {name} = on, unless this database may be lost"),
        )
    })
    .collect()
}

/// Processes ask for writing transactions, so a read-only default stops producers only.
fn takes_no_writes(server: &Server) -> Option<Finding> {
    if server.is_standby {
        return Some(error(
            "takes_no_writes",
            "the server takes no writes: it is a standby".to_owned(),
            "nothing can be enqueued, and no job runs",
            "connect to the primary server, or promote this one",
        ));
    }
    let place = match server.read_only_by.as_deref() {
        Some("database") => "for the database (`alter database`)",
        Some("user" | "database user") => "for the role (`alter role`)",
        Some("client") => "by the options of the connection",
        _ => "in the server's configuration",
    };
    server.is_read_only.then(|| {
        error(
            "takes_no_writes",
            format!("the server takes no writes: default_transaction_read_only = on, set {place}"),
            "nothing can be enqueued, and commands cannot change anything",
            "reset it there, unless writes are meant to be refused",
        )
    })
}

pub(in super::super) fn encoding(name: &str) -> Option<Finding> {
    (name != "UTF8").then(|| {
        warning(
            "encoding",
            format!("the encoding of the database is {name}, not UTF8"),
            "it holds only the characters of that encoding: jobs with others in their arguments, tags or \
             keys are refused, and in the texts of errors others are replaced by `?`",
            "use ASCII there, or move the queue to a database with `encoding 'UTF8'`",
        )
    })
}

fn connections(server: &Server) -> Option<Finding> {
    let (used, max) = (server.connections, server.connections_max);
    (used * 10 > max * 9).then(|| {
        warning(
            "connections",
            format!("{used} of {max} connections are in use"),
            "when none is left, processes cannot reconnect and producers cannot enqueue",
            "use smaller pools, a pooler, or raise max_connections; a process has at most 6 connections \
             when idle, and at most 8, and 2 for each worker, when busy",
        )
    })
}

fn ids(server: &Server) -> Option<Finding> {
    let used = server.ids_used.filter(|used| *used > 0.5)?;
    Some(error(
        "ids",
        format!("{:.0}% of all job ids are used", used * 100.0),
        "when none is left, nothing can be enqueued",
        "find out what moved the sequence job_seq, and set it back above the highest id",
    ))
}

fn holder(holder: &Holder) -> Finding {
    let age = match holder.seconds {
        Some(seconds) => spell(seconds),
        None => format!("{} transactions", holder.transactions),
    };
    let name = &holder.name;
    let (what, next) = match holder.holder.as_str() {
        "slot" => (
            format!("the replication slot {name} ({})", state(holder)),
            format!("let its consumer catch up, or drop it: pg_drop_replication_slot('{name}')"),
        ),
        "prepared" => (
            format!("the prepared transaction {name}"),
            "finish it with `commit prepared` or `rollback prepared`".to_owned(),
        ),
        _ => (
            format!("the session with pid {name} ({})", described(holder)),
            format!("end its transaction; if it is not needed: pg_terminate_backend({name})"),
        ),
    };
    warning(
        "horizon",
        format!("{what} has held dead rows in place for {age}"),
        "vacuum cannot remove dead rows: tables grow, and in time claims slow down",
        next,
    )
}

fn described(holder: &Holder) -> String {
    let application = holder.application_name.as_deref().unwrap_or_default();
    match application {
        "" => state(holder).to_owned(),
        application => format!("{application}, {}", state(holder)),
    }
}

/// An ordinary role does not see the state of other roles' sessions.
fn state(holder: &Holder) -> &str {
    holder.state.as_deref().unwrap_or("state not visible")
}

fn table(table: &Table) -> Finding {
    let vacuumed = match table.vacuumed_seconds {
        Some(seconds) => format!("vacuumed {} ago", spell(seconds)),
        None => "not vacuumed since statistics began".to_owned(),
    };
    let name = &table.name;
    let [dead, live] = [table.dead, table.live].map(|rows| grouped(rows.unsigned_abs()));
    warning(
        "dead_rows",
        format!("the table {name} has {dead} dead rows and {live} live ones, {vacuumed}"),
        "it takes more space, and reads pass over the dead rows",
        format!(
            "see whether something holds them in place; if not, give autovacuum more room, or run \
             `vacuum {name}`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Server {
        Server {
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".to_owned(),
            autovacuum: true,
            track_counts: true,
            is_standby: false,
            is_read_only: false,
            read_only_by: Some("default".to_owned()),
            encoding: "UTF8".to_owned(),
            connections: 90,
            connections_max: 100,
            ids_used: Some(0.001),
            holders: Vec::new(),
            tables: Vec::new(),
        }
    }

    fn session(seconds: Option<f64>) -> Holder {
        Holder {
            holder: "session".to_owned(),
            name: "77".to_owned(),
            application_name: Some("psql".to_owned()),
            state: None,
            seconds,
            transactions: 200_000,
        }
    }

    #[test]
    fn a_healthy_server_has_no_findings() {
        assert_eq!(judge(&healthy()), []);
    }

    #[test]
    fn dangerous_settings_and_exhaustion_are_reported() {
        let server = Server {
            fsync: false,
            synchronous_commit: "off".to_owned(),
            connections: 91,
            ids_used: Some(0.6),
            ..healthy()
        };
        let checks: Vec<_> = judge(&server).iter().map(|each| each.check).collect();
        assert_eq!(
            checks,
            ["server_setting", "server_setting", "connections", "ids"]
        );
    }

    #[test]
    fn a_server_that_takes_no_writes_is_reported_with_the_reason() {
        let standby = Server {
            is_standby: true,
            is_read_only: true,
            ..healthy()
        };
        let read_only = Server {
            is_read_only: true,
            read_only_by: Some("configuration file".to_owned()),
            ..healthy()
        };
        for (server, reason) in [
            (standby, "standby"),
            (read_only, "the server's configuration"),
        ] {
            let finding = &judge(&server)[0];
            assert_eq!(finding.check, "takes_no_writes");
            assert!(finding.what.ends_with(reason), "{}", finding.what);
        }
    }

    #[test]
    fn a_session_with_hidden_times_is_reported_by_its_transactions() {
        let hidden = holder(&session(None)).what;
        assert!(hidden.contains("200000 transactions"), "{hidden}");
        assert!(hidden.contains("psql, state not visible"), "{hidden}");
        let shown = holder(&session(Some(3_600.0))).what;
        assert!(shown.ends_with("for 1h"), "{shown}");
    }
}
