//! The lives of a process on one queue, one after the other.

use std::mem;

use queue_core::process::ProcessId;
use tokio::time::Instant;

use super::life::{live, stopped_for_long};
use super::served::Served;
use crate::app::State;
use crate::app::hooks::call_process_hooks;
use crate::stop::Stop;

/// Lives until the process stops. Returns when the process should be gone, if it was asked to stop during a life.
pub(super) async fn run<S: State>(served: Served<S>, stop: Stop) -> Option<Instant> {
    let mut has_registered = false;
    let mut deadline = None;
    while !stop.is_asked() {
        let id = ProcessId::new();
        if !served.register(id, &stop, has_registered).await {
            break;
        }
        if !mem::replace(&mut has_registered, true) {
            let hooks = call_start_hooks(&served, &stop);
            served.has_started.get_or_init(|| hooks).await;
            if stop.is_asked() {
                served.deregister(id).await;
                break;
            }
        }
        deadline = live(&served, id, &stop).await;
    }
    deadline
}

async fn call_start_hooks<S>(served: &Served<S>, stop: &Stop) {
    let given_up = stopped_for_long(stop, None);
    call_process_hooks(
        "on_start",
        &served.app.hooks.started,
        &served.name,
        given_up,
    )
    .await;
}
