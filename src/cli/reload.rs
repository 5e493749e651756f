//! SIGHUP: reads the configuration again. All live changes apply at once, or none does.

use super::logging::LogLevel;
use crate::admin::{AdminSettings, Steering};
use crate::config::{Changes, ConfigError, Loaded, OwnCertificate, Raw, RevocationList, Settings};

/// Reads the configuration again, for a node that has started with this one.
type Load = Box<dyn Fn(&Raw) -> Result<Loaded, ConfigError>>;

/// The state of reloading: the settings of the start, those in force, and the source of new ones.
pub(super) struct Reloader {
    /// The settings of the start.
    started: Raw,
    /// The settings in force.
    current: Raw,
    log_level: LogLevel,
    steering: Steering,
    load: Load,
}

impl Reloader {
    pub(super) fn new(started: Raw, log_level: LogLevel, load: Load) -> Self {
        let steering = Steering::new(shown(&started), log_level.clone());
        Self { current: started.clone(), started, log_level, steering, load }
    }

    /// The parts of the settings that the admin surface shows and changes.
    pub(super) fn steering(&self) -> Steering {
        self.steering.clone()
    }

    /// Reads the configuration again, logs the differences, and puts the settings in force by `apply`. False if they are invalid.
    pub(super) fn reload(&mut self, apply: impl FnOnce(Settings)) -> bool {
        let Loaded { raw, settings } = match (self.load)(&self.started) {
            Ok(loaded) => loaded,
            Err(error) => {
                // One log line, whatever the number of errors.
                let error = error.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ");
                tracing::error!(error, "configuration not reloaded: the current settings stay in force");
                return false;
            }
        };
        let changes = Changes::between(&self.started, &self.current, &raw);
        if let Err(error) = self.log_level.set(settings.log.level) {
            tracing::error!(%error, "configuration not reloaded: the current settings stay in force");
            return false;
        }
        for change in &changes.at_restart {
            let (key, from, to) = (&change.key, &change.from, &change.to);
            tracing::warn!(%key, %from, %to, "setting takes effect at the next start");
        }
        for change in &changes.live {
            let (key, from, to) = (&change.key, &change.from, &change.to);
            tracing::info!(%key, %from, %to, "setting changed");
        }
        settings.warnings.iter().for_each(|warning| log_warning(warning));
        log_certificates(settings.certificate.as_ref(), settings.admin.as_ref());
        settings.revocation_lists.iter().for_each(log_revocation_list);
        self.steering.set_config(shown(&raw));
        self.current = raw;
        apply(settings);
        // Last: who has read it finds the settings in force.
        tracing::info!(
            changed = changes.live.len(),
            at_next_start = changes.at_restart.len(),
            "configuration reloaded"
        );
        true
    }
}

/// Logs a value that is allowed and probably not meant.
pub(super) fn log_warning(warning: &str) {
    tracing::warn!(setting = warning, "configuration warning");
}

/// Logs the certificates that are in force from now on.
pub(super) fn log_certificates(of_node: Option<&OwnCertificate>, admin: Option<&AdminSettings>) {
    let of_admin = admin.and_then(|admin| admin.door.tls.as_ref()).map(|tls| &tls.own);
    for (section, certificate) in [("tls", of_node), ("admin", of_admin)] {
        let Some(certificate) = certificate else { continue };
        let OwnCertificate { subject, not_after, serial, .. } = certificate;
        tracing::info!(section, subject, %serial, %not_after, "tls certificate in force");
        let Some(remedy) = certificate.date_warning() else { continue };
        if certificate.expires_in_s() < 0 {
            tracing::error!(section, subject, %not_after, remedy, "tls certificate has expired: peers will refuse it");
        } else {
            tracing::warn!(section, subject, %not_after, remedy, "tls certificate expires within a month");
        }
    }
}

/// The configuration for operators. It holds no secrets: they are in files that it names.
fn shown(raw: &Raw) -> serde_json::Value {
    serde_json::to_value(raw).unwrap_or_default()
}

/// Logs the revocation lists that are in force from now on.
pub(super) fn log_revocation_list(list: &RevocationList) {
    let RevocationList { path, issuer, next_update, is_overdue } = list;
    let next_update = next_update.as_deref();
    if *is_overdue {
        tracing::warn!(
            path,
            issuer,
            next_update,
            "tls revocation list is past its next update: it stays in force, but certificates revoked since are accepted"
        );
    } else {
        tracing::info!(path, issuer, next_update, "tls revocation list in force");
    }
}
