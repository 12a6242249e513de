//! Keeps a component going: one that fails is reported and started again.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::connection::Patience;

/// Runs a component again and again until it ends by itself, or the process stops. Errors and
/// panics are reported, with growing waits in between.
pub(crate) async fn supervise<F>(
    name: &'static str,
    stopping: CancellationToken,
    mut start: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), sqlx::Error>>,
{
    let mut patience = Patience::default();
    loop {
        let began = tokio::time::Instant::now();
        match AssertUnwindSafe(start()).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(component = name, %error, "failed; starting it again"),
            Err(_panic) => tracing::error!(component = name, "panicked; starting it again"),
        }
        let wait = patience.next_wait();
        if began.elapsed() > wait {
            patience.reset();
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
