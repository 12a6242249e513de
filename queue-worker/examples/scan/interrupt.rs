//! Ctrl-C and TERM: once to stop when the files at hand are hashed, twice to stop at once.

use anyhow::{Context, Result};
use queue_worker::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::console::Console;

/// Passes signals on to the process, from now on. The token is cancelled with the first one.
pub(crate) fn listen(stop: &Stop, console: &Console) -> Result<CancellationToken> {
    let int = signal(SignalKind::interrupt()).context("could not listen for signals")?;
    let term = signal(SignalKind::terminate()).context("could not listen for signals")?;
    let asked = CancellationToken::new();
    tokio::spawn(pass_on(
        (int, term),
        stop.clone(),
        asked.clone(),
        console.clone(),
    ));
    Ok(asked)
}

async fn pass_on(
    mut signals: (Signal, Signal),
    stop: Stop,
    asked: CancellationToken,
    console: Console,
) {
    next(&mut signals).await;
    console.say("Stopping. Jobs that are not done are kept (again: stop at once)");
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
