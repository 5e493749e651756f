//! Notifications to the service manager (sd_notify(3)); without one, they do nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tidegate_actors::Heart;
use tokio::time::sleep;

/// The node serves.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends this state.
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

/// Notifies the watchdog twice in its interval while the supervisor has a heartbeat. If the children are no longer supervised, the service
/// manager restarts the process. Ends at once without a watchdog.
pub(super) async fn watchdog(mut heart: Heart) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let interval = (patience / 2).max(Duration::from_millis(10));
    // After a pause of the process, the notification may be due before the supervisor's next heartbeat, so it waits for that.
    while heart.beats_again().await {
        notify(&[NotifyState::Watchdog]);
        sleep(interval).await;
    }
}

/// An unreachable service manager is no reason to fail.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
