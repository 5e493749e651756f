//! `[catalogue]`: the file of the catalogue.

use std::path::{Path, PathBuf, absolute};

use tidegate_actors::CatalogueSettings;

use super::checks::Checks;
use super::keys::Raw;

/// The file in a storage root.
const OWN_FILE: &str = ".tidegate/catalogue.sqlite";
/// What SQLite keeps beside it, and the catalogue its lock.
const ENDINGS: [&str; 4] = ["", "-wal", "-shm", "-lock"];

/// The catalogue; `Some(None)`: there is none. `started`: the configuration that a running node has started with.
pub(super) fn catalogue(
    raw: &Raw,
    started: Option<&Raw>,
    checks: &mut Checks<'_>,
) -> Option<Option<CatalogueSettings>> {
    let keeps_patients = raw.catalogue.patient;
    let own = |path, is_own| Some(Some(CatalogueSettings { path, is_own, keeps_patients }));
    match raw.catalogue.path.trim() {
        "off" => {
            checks.without_effect(&[("catalogue.patient", !keeps_patients)], "catalogue.path = \"off\"");
            Some(None)
        }
        "auto" => own(Path::new(&raw.storage.root).join(OWN_FILE), true),
        path => {
            // A running node keeps its file, so a reload does not look where it stands.
            let is_in_force = started.is_some_and(|started| started.catalogue.path == raw.catalogue.path);
            if let Some(complaint) = complaint(path, raw, is_in_force) {
                checks.refuse("catalogue.path", &complaint);
                return None;
            }
            own(path.into(), false)
        }
    }
}

/// The storage root and its catalogue, for a client that reads it; `None`: there is no catalogue.
pub(super) fn of_root(raw: &Raw) -> Option<(PathBuf, CatalogueSettings)> {
    let root = PathBuf::from(&raw.storage.root);
    let (path, is_own) = match raw.catalogue.path.trim() {
        "off" => return None,
        "auto" => (root.join(OWN_FILE), true),
        path => (path.into(), false),
    };
    Some((root, CatalogueSettings { path, is_own, keeps_patients: raw.catalogue.patient }))
}

fn complaint(path: &str, raw: &Raw, is_in_force: bool) -> Option<String> {
    if path.is_empty() || path.contains('\0') || path.ends_with('/') {
        return Some("must be \"auto\", \"off\" or the path of a file".to_owned());
    }
    let place = |path: &str| absolute(path).unwrap_or_default();
    let file = place(path);
    if file.starts_with(place(&raw.storage.root)) {
        return Some(
            "must be outside storage.root, where it could stand in the place of an instance; \"auto\" is a file of the node's own there"
                .to_owned(),
        );
    }
    let files = ENDINGS.map(|ending| place(&format!("{path}{ending}")));
    if let Some((key, _)) = other_paths(raw).into_iter().find(|(_, other)| files.contains(&place(other))) {
        return Some(format!("names the file of {key}, or one that is kept beside it; name another file"));
    }
    let directory: PathBuf = file.parent().unwrap_or(Path::new("/")).to_owned();
    (!is_in_force && !directory.is_dir()).then(|| {
        format!("its directory {} does not exist: create it, writable for the node's user", directory.display())
    })
}

/// The paths of files in other keys.
fn other_paths(raw: &Raw) -> Vec<(&'static str, &str)> {
    let (tls, admin, audit) = (&raw.tls, &raw.admin, &raw.audit);
    let mut paths = vec![
        ("tls.certificate", tls.certificate.as_str()),
        ("tls.key", &tls.key),
        ("tls.client_ca", &tls.client_ca),
        ("admin.token_file", &admin.token_file),
        ("admin.tls_certificate", &admin.tls_certificate),
        ("admin.tls_key", &admin.tls_key),
        ("admin.tls_client_ca", &admin.tls_client_ca),
        ("admin.socket", &admin.socket),
        ("user_identity.file", &raw.user_identity.file),
        ("audit.sink", audit.sink.trim().strip_prefix("file:").unwrap_or_default()),
        ("audit.ca", &audit.ca),
        ("audit.certificate", &audit.certificate),
        ("audit.key", &audit.key),
    ];
    paths.extend(tls.client_crls.iter().map(|path| ("tls.client_crls", path.as_str())));
    paths.extend(admin.tls_client_crls.iter().map(|path| ("admin.tls_client_crls", path.as_str())));
    paths.retain(|(_, path)| !path.trim().is_empty());
    paths
}
