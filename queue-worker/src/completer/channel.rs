//! Receiving what runs send to the completer.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Waits for something to record, and returns how much was received, at most `max`: none if all that was
/// sent until `closing` was cancelled has been received.
pub(super) async fn receive<T>(
    sent: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    max: usize,
    closing: &CancellationToken,
) -> usize {
    tokio::select! {
        biased;
        received = sent.recv_many(batch, max) => return received,
        () = closing.cancelled() => sent.close(),
    }
    sent.recv_many(batch, max).await
}
