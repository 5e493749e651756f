//! What deviates from the standard and is tolerated: counted and logged by kind.

use tidegate_protocol::StoreRequest;
use tidegate_storage::Instance;
use tidegate_storage::head::{Deviations, Evidence};
use tidegate_storage::meta::FileMeta;
use tracing::warn;

use super::connection::Connection;
use crate::gauges::incidents::Class;

impl Connection {
    /// Counts what is unusual about a C-STORE-RQ that is served.
    pub(super) fn note_unusual_request(&self, request: &StoreRequest, meta: &FileMeta) {
        let uid = &meta.sop_instance_uid;
        if !uid.is_standard() || !uid.is_all_of(request.affected_sop_instance_uid()) {
            self.deviates("sop_instance_uid", meta, "sop instance uid is not one by PS3.5 §9.1");
        }
        if request.has_foreign_elements {
            self.deviates(
                "command_elements",
                meta,
                "command set has elements of other groups than 0000, which are ignored",
            );
        }
        if meta.sop_class_uid.as_str() != &*request.abstract_syntax {
            self.deviates("class_of_another_context", meta, "sop class is not that of the presentation context");
        }
    }

    /// Counts what is unusual about the dataset of a stored instance.
    pub(super) fn note_unusual_dataset(&self, instance: &Instance) {
        let &Deviations { left_out_bytes, other_transfer_syntax, is_unordered, lacks_identity, has_invalid_vr } =
            instance.head.deviations();
        let meta = &instance.meta;
        if left_out_bytes > 0 {
            self.deviates(
                "file_meta",
                meta,
                "a preamble, file meta or command elements in front of the dataset are left out of the file",
            );
        }
        if let Some(evidence) = other_transfer_syntax {
            let (kind, cause) = match evidence {
                Evidence::Elements => (
                    "encoding",
                    "dataset is not in the transfer syntax of its context, file names the encoding of its first elements",
                ),
                Evidence::PixelData => (
                    "pixel_data",
                    "pixel data is native in a context of a compressed transfer syntax, file names the encoding of its elements",
                ),
                Evidence::FileMeta => (
                    "encoding",
                    "dataset is not in the transfer syntax of its context, file names the one of the file meta sent with it",
                ),
            };
            self.deviates(kind, meta, cause);
        }
        if is_unordered {
            self.deviates("order", meta, "data elements do not ascend (PS3.5 §7.1)");
        }
        if has_invalid_vr {
            self.deviates(
                "vr",
                meta,
                "two bytes in the place of a vr are none, the length behind them is read in the short form",
            );
        }
        if lacks_identity {
            self.deviates(
                "identity",
                meta,
                "dataset lacks a sop class, instance, study or series uid, or has it without a value",
            );
        }
    }

    fn deviates(&self, kind: &'static str, meta: &FileMeta, cause: &'static str) {
        if let Some(unlogged) = self.incident(Class::Deviation, kind, &meta.transfer_syntax_uid) {
            warn!(
                peer = %self.peer.address,
                calling = self.peer.calling(),
                called = self.peer.called(),
                association = self.peer.association(),
                sop_instance = meta.sop_instance_uid.loggable(),
                sop_class = meta.sop_class_uid.loggable(),
                transfer_syntax = meta.transfer_syntax_uid.as_str(),
                reason = kind,
                cause,
                unlogged,
                "sender deviates from the standard, which is tolerated"
            );
        }
    }

    /// Counts an AE title with text behind a NUL.
    pub(super) fn note_cut_title(&self) {
        if let Some(unlogged) = self.incident(Class::Deviation, "ae_title", ()) {
            let (calling, called) = (self.peer.calling(), self.peer.called());
            warn!(peer = %self.peer.address, calling, called, unlogged, "ae title has text behind a NUL, which is ignored");
        }
    }
}
