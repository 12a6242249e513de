//! Notifies systemd when the process is ready, that it is alive, and when it stops.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tokio::time::sleep;

use crate::health::HealthOfShards;

/// How many times the process says within the time that the watchdog grants that it is alive.
const TIMES: u32 = 3;

/// How often a process that waits asks for more time, a minute from then.
const EXTENSION: Duration = Duration::from_secs(20);

/// Notifies the service manager that has started this process, if there is one, until the process has ended.
pub(super) async fn notify(health: HealthOfShards) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let alive = async {
        let Some(interval) = watchdog_interval() else {
            return std::future::pending().await;
        };
        loop {
            send(&socket, "WATCHDOG=1");
            sleep(interval).await;
        }
    };
    // A process that waits, such as for `queue migrate`, is not restarted for it.
    let waiting = async {
        loop {
            send(&socket, "EXTEND_TIMEOUT_USEC=60000000");
            sleep(EXTENSION).await;
        }
    };
    let work = async {
        tokio::select! {
            () = health.started() => {}
            () = waiting => {}
        }
        send(&socket, "READY=1");
        health.stopped().await;
        send(&socket, "STOPPING=1");
    };
    tokio::join!(work, alive);
}

/// Returns how often the watchdog wants to hear of this process.
fn watchdog_interval() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse().ok();
    let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let granted = Duration::from_micros(number("WATCHDOG_USEC")?);
    is_meant.then_some(granted / TIMES)
}

fn send(socket: &OsString, state: &str) {
    if let Err(error) = try_send(socket, state) {
        tracing::warn!(%error, state, "could not notify systemd");
    }
}

fn try_send(socket: &OsString, state: &str) -> std::io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => sender.send_to_addr(state.as_bytes(), &abstract_address(name)?)?,
        None => sender.send_to(state.as_bytes(), socket)?,
    };
    Ok(())
}

/// Returns the address of a socket that has no file.
#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> std::io::Result<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    std::os::unix::net::SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> std::io::Result<std::os::unix::net::SocketAddr> {
    Err(std::io::ErrorKind::Unsupported.into())
}
