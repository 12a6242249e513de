//! The jobs of the shop: some are done at once, some fail, some go on until they are asked to stop.

use std::time::Duration;

use anyhow::Result;
use queue_worker::{App, BoxError, Cx, Job, Perform, RecurringJob};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const QUICK: [&str; 5] = [
    "send_invoice",
    "resize_image",
    "reindex_product",
    "load_meters",
    "renew_plan",
];

/// A job that is done at once.
#[derive(Serialize, Deserialize)]
struct Quick<const N: usize>(Value);

impl<const N: usize> Job for Quick<N> {
    const KIND: &'static str = QUICK[N];
}

impl<const N: usize> Perform<()> for Quick<N> {
    type Error = BoxError;

    async fn perform(self, _cx: Cx<()>) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A job that runs until it is asked to stop.
#[derive(Serialize, Deserialize)]
struct ImportAccount(Value);

impl Job for ImportAccount {
    const KIND: &'static str = "import_account";
}

impl Perform<()> for ImportAccount {
    type Error = BoxError;

    async fn perform(self, cx: Cx<()>) -> Result<(), BoxError> {
        cx.cancelled().await;
        Ok(())
    }
}

/// A job whose first attempt fails.
#[derive(Serialize, Deserialize)]
struct ChargeCard(Value);

impl Job for ChargeCard {
    const KIND: &'static str = "charge_card";
}

impl Perform<()> for ChargeCard {
    type Error = BoxError;

    async fn perform(self, cx: Cx<()>) -> Result<(), BoxError> {
        match cx.attempt().number {
            1 => Err("payments.example answered 503 Service Unavailable: \
                      the gateway is down for maintenance until 04:00 UTC"
                .into()),
            _ => Ok(()),
        }
    }
}

/// A job with steps, a log and an output, which ends as its arguments say.
#[derive(Serialize, Deserialize)]
struct BuildStatement {
    month: String,
    ends: Ending,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ending {
    Well,
    Badly,
    /// When it is asked to stop.
    Late,
}

impl Job for BuildStatement {
    const KIND: &'static str = "build_statement";
}

impl Perform<()> for BuildStatement {
    type Error = BoxError;

    async fn perform(self, cx: Cx<()>) -> Result<(), BoxError> {
        let load = async || Ok::<_, BoxError>(1_284);
        let customers: u64 = cx.step("load_customers", load).await?;
        tracing::info!(target: "shop::statements", customers, "customers loaded");
        let reserve = async || Ok::<_, BoxError>("ST-2026-0048213".to_owned());
        let number: String = cx.step("reserve_number", reserve).await?;
        tracing::warn!(target: "shop::statements", "3 customers have no address; their statements are only stored");
        cx.cursor::<u64>("customer").await?.set(812).await?;
        cx.progress(812, customers);
        match self.ends {
            Ending::Well => cx.output(&json!({"number": number, "pages": 2_568}))?,
            Ending::Badly => {
                return Err("the printer printer-2.acme.example is out of paper".into());
            }
            Ending::Late => cx.cancelled().await,
        }
        Ok(())
    }

    fn keeps_log() -> bool {
        true
    }
}

/// A job that waits for an event that does not come.
#[derive(Serialize, Deserialize)]
struct ShipOrder {
    order: u64,
}

impl Job for ShipOrder {
    const KIND: &'static str = "ship_order";
}

impl Perform<()> for ShipOrder {
    type Error = BoxError;

    async fn perform(self, cx: Cx<()>) -> Result<(), BoxError> {
        let paid = format!("order/{}/paid", self.order);
        let week = Duration::from_secs(7 * 86_400);
        cx.wait_for::<Value>(&paid, week).await?;
        Ok(())
    }
}

pub(crate) fn app() -> Result<App<()>> {
    let nightly = RecurringJob::new(
        "nightly_ledger",
        "every day at 2am",
        Quick::<0>(json!({"ledger": "main"})),
    )?;
    let digest = RecurringJob::new("hourly_digest", "every hour", Quick::<1>(json!({})))?;
    let report = RecurringJob::new(
        "weekly_report",
        "every monday at 9am",
        Quick::<2>(json!({"format": "pdf"})),
    )?;
    Ok(App::new(())
        .register::<Quick<0>>()
        .register::<Quick<1>>()
        .register::<Quick<2>>()
        .register::<Quick<3>>()
        .register::<Quick<4>>()
        .register::<ImportAccount>()
        .register::<ChargeCard>()
        .register::<BuildStatement>()
        .register::<ShipOrder>()
        .recurring(nightly)
        .recurring(digest)
        .recurring(report))
}
