//! From a C-STORE-RQ to the description of its dataset.

use tidegate_protocol::StoreRequest;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;

use super::env::Env;
use super::peer::Peer;
use crate::ingest::Description;
use crate::node::settings::LiveSettings;
use crate::refusal::Refusal;

/// The description of a dataset, from its request; or the refusal that is already certain.
pub(super) fn describe(
    request: &StoreRequest,
    peer: &Peer,
    env: &Env,
    live: &LiveSettings,
) -> Result<Description, Refusal> {
    let placement = peer.placement(&live.access, &request.abstract_syntax);
    let meta = file_meta(request, peer, &live.associations.policy.ae_title)?;
    let wanted = env.wanted_for(placement.as_deref());
    Ok(Description { origin: peer.origin.clone(), meta, placement, wanted })
}

/// The file meta information, from the command set alone.
fn file_meta(request: &StoreRequest, peer: &Peer, receiving_ae_title: &str) -> Result<FileMeta, Refusal> {
    if !request.has_data_set {
        return Err(Refusal::NoDataSet);
    }
    if !request.is_storage_context() {
        return Err(Refusal::NotAStorageContext);
    }
    let sop_class_uid = Uid::parse(request.affected_sop_class_uid()).map_err(Refusal::ClassUid)?;
    if sop_class_uid.as_str() != &*request.abstract_syntax {
        return Err(Refusal::ClassOfAnotherContext);
    }
    let sop_instance_uid = Uid::parse(request.affected_sop_instance_uid()).map_err(Refusal::InstanceUid)?;
    Ok(FileMeta {
        sop_class_uid,
        sop_instance_uid,
        transfer_syntax_uid: request.transfer_syntax.to_string(),
        source_ae_title: peer.calling_ae_title.clone(),
        sending_ae_title: peer.calling_ae_title.clone(),
        receiving_ae_title: receiving_ae_title.to_owned(),
    })
}
