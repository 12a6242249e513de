//! Ctrl-C and TERM: the first stops when the current files are hashed, the second at once.

use anyhow::{Context, Result};
use queue_worker::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::console::Console;

/// Stops the process on signals, from now on. The token is cancelled by the first one.
pub(crate) fn listen(stop: &Stop, console: &Console) -> Result<CancellationToken> {
    let int = signal(SignalKind::interrupt()).context("could not listen for signals")?;
    let term = signal(SignalKind::terminate()).context("could not listen for signals")?;
    let asked = CancellationToken::new();
    tokio::spawn(stop_on_signals(
        (int, term),
        stop.clone(),
        asked.clone(),
        console.clone(),
    ));
    Ok(asked)
}

async fn stop_on_signals(
    mut signals: (Signal, Signal),
    stop: Stop,
    asked: CancellationToken,
    console: Console,
) {
    next(&mut signals).await;
    console.say("Stopping; unfinished jobs are kept (press again to stop at once)");
    stop.gracefully();
    asked.cancel();
    next(&mut signals).await;
    stop.at_once();
}

async fn next((int, term): &mut (Signal, Signal)) {
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}
