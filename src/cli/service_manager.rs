//! What the service manager is told (sd_notify(3)); nothing, if there is none.

use std::time::Duration;

use sd_notify::NotifyState;
use tidegate_actors::Heart;
use tokio::time::sleep;

/// The node serves.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] tells the end of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The node stops.
pub(super) fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Tells the watchdog twice in its time that the node lives, as long as the supervisor's heart goes on beating: a process that
/// still runs while nobody looks after its children is restarted by the service manager. Ends at once if no watchdog waits.
pub(super) async fn watchdog(mut heart: Heart) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let interval = (patience / 2).max(Duration::from_millis(10));
    // After a pause of the process this may be due before the supervisor has beaten again: the beat is waited for.
    while heart.beats_again().await {
        notify(&[NotifyState::Watchdog]);
        sleep(interval).await;
    }
}

/// A service manager that does not listen is no reason to fail.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
