//! From a C-STORE-RQ to the description of its dataset.

use tidegate_protocol::{Policy, StoreRequest};
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;

use super::env::Env;
use super::peer::{Peer, placement_under};
use crate::ingest::Description;
use crate::node::settings::LiveSettings;
use crate::refusal::Refusal;

/// The description of a dataset, from its request; or the refusal that is already certain.
pub(super) fn describe(
    request: &StoreRequest,
    peer: &mut Peer,
    env: &Env,
    live: &LiveSettings,
) -> Result<Description, Refusal> {
    let meta = file_meta(request, peer, &live.associations.policy)?;
    let rule = peer.rule_of(meta.sop_class_uid.as_str());
    let placement = placement_under(&live.access, rule);
    let wanted = env.wanted_for(placement.as_deref());
    let origin = peer.origin_of(live, rule);
    Ok(Description { origin, meta, placement, wanted })
}

/// The file meta information, from the command set alone.
fn file_meta(request: &StoreRequest, peer: &Peer, policy: &Policy) -> Result<FileMeta, Refusal> {
    if !request.has_data_set {
        return Err(Refusal::NoDataSet);
    }
    if !request.is_storage_context() {
        return Err(Refusal::NotAStorageContext);
    }
    let parse = if policy.strict { Uid::parse } else { Uid::parse_loosely };
    let sop_class_uid = parse(request.affected_sop_class_uid()).map_err(Refusal::ClassUid)?;
    let sop_class = sop_class_uid.as_str();
    // Another class than the context's must be one that the peer could have proposed.
    let stores = |class: &Uid| {
        policy.stores(class.as_str()) || (policy.accept_unknown_sop_classes && class.loggable().is_none())
    };
    if sop_class != &*request.abstract_syntax && (policy.strict || !stores(&sop_class_uid) || peer.is_denied(sop_class))
    {
        return Err(Refusal::ClassOfAnotherContext { abstract_syntax: request.abstract_syntax.clone() });
    }
    let sop_instance_uid = parse(request.affected_sop_instance_uid()).map_err(Refusal::InstanceUid)?;
    Ok(FileMeta {
        sop_class_uid,
        sop_instance_uid,
        transfer_syntax_uid: request.transfer_syntax.to_string(),
        source_ae_title: peer.calling_ae_title.clone(),
        sending_ae_title: peer.calling_ae_title.clone(),
        receiving_ae_title: policy.ae_title.clone(),
    })
}
