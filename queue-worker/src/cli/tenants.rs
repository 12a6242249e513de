//! `queue tenants`: lists, pauses and resumes tenants, and sets their weights.

use clap::{Args, Subcommand};
use queue_core::Schema;
use queue_core::inspect::{spell_duration, tenants};
use queue_core::operations::audit::Act;
use queue_core::operations::tenants::{self as verbs, WEIGHT_MAX};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::audit::{act, actor, audit};
use super::output::{count, grouped, paused, say};
use super::{Database, Exit, Failure, Global};

const EXAMPLES: &str = "\
Examples:
  queue tenants                       tenants with jobs in fair queues
  queue tenants pause acme --why 'their import floods the disk'
  queue tenants resume acme
  queue tenants weight acme 3         three of its jobs in a turn
  queue limits set @tenant/acme --to 5

A pause, a weight and a limit of a tenant hold in all fair queues (`fair = true` in [queues.NAME]).";

/// How many tenants are listed.
const COUNT: u32 = 50;

#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tenants {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Lists the tenants that have jobs, or for which something is set [default]
    List(List),
    /// Pauses a tenant: none of its jobs in fair queues is started
    Pause {
        /// The tenant
        tenant: String,
        /// Why, for those who find it paused
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Resumes a tenant
    Resume {
        /// The tenant
        tenant: String,
    },
    /// Sets how many jobs of a tenant start in a turn
    Weight {
        /// The tenant
        tenant: String,
        /// From 1, the default, to 1000
        #[arg(value_name = "JOBS", value_parser = clap::value_parser!(i16).range(1..=i64::from(WEIGHT_MAX)))]
        weight: i16,
    },
}

#[derive(Clone, Debug, Args)]
struct List {
    /// Only tenants after this one, such as the last one of the previous page
    #[arg(long, value_name = "TENANT")]
    after: Option<String>,
    /// The maximum number of tenants
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = COUNT,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

/// The list without any flags.
const FIRST_PAGE: List = List {
    after: None,
    count: COUNT,
};

impl Tenants {
    pub(super) async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let (mut conn, schema) = Database::open(&global.load()?).await?;
        match self.command {
            None => FIRST_PAGE.run(global, &mut conn, &schema).await,
            Some(Command::List(list)) => list.run(global, &mut conn, &schema).await,
            Some(command) => command.change(global, &mut conn, &schema).await,
        }
    }
}

impl List {
    async fn run(
        self,
        global: &Global,
        conn: &mut PgConnection,
        schema: &Schema,
    ) -> Result<Exit, Failure> {
        let after = self.after.unwrap_or_default();
        let tenants = tenants::list(conn, schema, &after, self.count).await?;
        let number = |count: i64| grouped(count.unsigned_abs());
        let latency = |seconds: Option<f64>| seconds.map_or("-".to_owned(), spell_duration);
        let empty = match after.is_empty() {
            true => {
                "no tenant has jobs in a fair queue: `fair = true` in [queues.NAME] makes one fair"
            }
            false => "there are no further tenants",
        };
        global.print_list(
            &tenants,
            empty,
            &[
                ("TENANT", &|tenant| tenant.name.clone()),
                ("#WEIGHT", &|tenant| tenant.weight.to_string()),
                ("#READY", &|tenant| count(tenant.ready)),
                ("#LATENCY", &|tenant| latency(tenant.latency_seconds)),
                ("#RUNNING", &|tenant| number(tenant.running)),
                ("#FAILED", &|tenant| number(tenant.failed)),
                ("PAUSED", &|tenant| paused(tenant.pause())),
            ],
        )?;
        if let (false, Some(last)) = (global.json, tenants.last())
            && tenants.len() == self.count as usize
        {
            say(format!("there may be more: add --after '{}'", last.name));
        }
        Ok(Exit::Fine)
    }
}

impl Command {
    /// Changes a tenant, and records that in the same transaction.
    async fn change(
        self,
        global: &Global,
        conn: &mut PgConnection,
        schema: &Schema,
    ) -> Result<Exit, Failure> {
        let mut tx = conn.begin().await?;
        let (changed, said) = self.make(&mut tx, schema).await?;
        let (tenant, done) = self.act();
        if changed {
            audit(&mut tx, schema, done).await?;
        }
        tx.commit().await?;
        say(said);
        global.conclude(&json!({"tenant": tenant, "changed": changed}))
    }

    /// Makes the change. Returns whether it is new, and what to say about it.
    async fn make(
        &self,
        tx: &mut PgConnection,
        schema: &Schema,
    ) -> Result<(bool, String), Failure> {
        Ok(match self {
            Self::List(_) => (false, String::new()),
            Self::Pause { tenant, why } => {
                let who = Some(actor().who);
                let changed =
                    verbs::pause(tx, schema, tenant, who.as_deref(), why.as_deref()).await?;
                let said = match changed {
                    true => format!("paused tenant {tenant}"),
                    false => format!("tenant {tenant} was paused already"),
                };
                (changed, said)
            }
            Self::Resume { tenant } => {
                let changed = verbs::resume(tx, schema, tenant).await?;
                let said = match changed {
                    true => format!("resumed tenant {tenant}"),
                    false => format!("tenant {tenant} was not paused"),
                };
                (changed, said)
            }
            Self::Weight { tenant, weight } => {
                let changed = verbs::set_weight(tx, schema, tenant, *weight).await?;
                (changed, format!("tenant {tenant} has the weight {weight}"))
            }
        })
    }

    /// Returns the tenant and the act, as the audit has it.
    fn act(self) -> (String, Act) {
        let (what, tenant, why) = match self {
            Self::List(_) => ("list".to_owned(), String::new(), None),
            Self::Pause { tenant, why } => ("pause".to_owned(), tenant, why),
            Self::Resume { tenant } => ("resume".to_owned(), tenant, None),
            Self::Weight { tenant, weight } => (format!("weight {weight}"), tenant, None),
        };
        let done = Act {
            why,
            ..act(what, format!("tenants/{tenant}"))
        };
        (tenant, done)
    }
}
