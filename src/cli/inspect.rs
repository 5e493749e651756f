//! `check-config` and `print-config`: look at the configuration without starting anything.

use std::time::Duration;

use tidegate_actors::{FLOOR_LEASE_BYTES, floors_of};

use super::host::{limit_warnings, min_free_warning, open_files};
use super::{Exit, output};
use crate::audit;
use crate::config::{Raw, Settings, TEMPLATE, size_text};

/// Time for the sink of audit messages to answer.
const SINK_PATIENCE: Duration = Duration::from_secs(3);

/// Prints that the configuration is valid, and the memory and descriptors that it adds up to. Warns of a sink of audit messages that cannot be
/// reached: that is no error, since a receiver may be down for a while.
pub(super) fn check(settings: &Settings) -> Exit {
    let node = &settings.node;
    let live = &node.live;
    let associations = live.associations.max;
    let floor = floors_of(associations);
    let of_admin = settings.admin.as_ref().and_then(|admin| admin.door.tls.as_ref()).map(|tls| &tls.own);
    let own = [("tls.certificate", settings.certificate.as_ref()), ("admin.tls_certificate", of_admin)];
    let dates =
        own.into_iter().filter_map(|(key, certificate)| Some(format!("{key}: {}", certificate?.date_warning()?)));
    for warning in settings.warnings.iter().cloned().chain(dates).chain(limit_warnings()) {
        output::complain(&format!("warning: {warning}"));
    }
    if let Some(warning) = min_free_warning(node) {
        output::complain(&format!("warning: {warning}"));
    }
    let audit = match &settings.audit {
        None => "off".to_owned(),
        Some(sink) => match audit::reach_now(sink, SINK_PATIENCE) {
            Ok(()) => format!("{sink}, reached"),
            Err(error) => {
                output::complain(&format!(
                    "warning: audit.sink {sink} cannot be reached: {error}. Audit messages would wait in .tidegate/audit of the storage root"
                ));
                format!("{sink}, not reached")
            }
        },
    };
    output::print(&format!(
        "configuration is valid\n\
         \x20 memory: budget {budget}, of which floor leases {floor} ({associations} associations of {each}, and startup places), \
         {rest} for negotiation and datasets\n\
         \x20 datasets above {spool} are spooled to disk; {writers} writers, {mailbox} mailbox slots\n\
         \x20 open files: {open_files} at most, which the process limit (ulimit -n, LimitNOFILE=) must allow\n\
         \x20 audit messages: {audit}\n",
        budget = size_text(live.memory_budget_bytes),
        floor = size_text(floor),
        each = size_text(FLOOR_LEASE_BYTES),
        rest = size_text(live.memory_budget_bytes - floor),
        spool = size_text(live.associations.spool_threshold_bytes),
        writers = node.writers,
        mailbox = live.writers.mailbox_capacity,
        open_files = open_files(node),
    ))
}

/// Prints the effective configuration as a file that gives the same configuration again. It holds no
/// secrets: they are in files that it names.
pub(super) fn print(raw: &Raw) -> Exit {
    match toml::to_string(raw) {
        Ok(text) => output::print(&text),
        Err(error) => {
            output::complain(&format!("cannot print the configuration: {error}"));
            Exit::Failed
        }
    }
}

/// Prints `conf/tidegate.toml` as it stands.
pub(super) fn print_template() -> Exit {
    output::print(TEMPLATE)
}
