//! The two command sets a C-STORE generator needs: the request it writes and the response it reads (PS3.7 §9.3.1).

use crate::uid::UID_LENGTH;

/// An encoded C-STORE-RQ and the offsets of what differs between instances.
#[derive(Debug)]
pub(crate) struct StoreRequest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) message_id_at: usize,
    pub(crate) sop_instance_at: usize,
}

impl StoreRequest {
    /// A request for an instance of `sop_class` whose UID is still to be filled in.
    pub(crate) fn new(sop_class: &str) -> Self {
        let mut body = Vec::new();
        let mut class = sop_class.as_bytes().to_vec();
        if class.len() % 2 == 1 {
            class.push(0);
        }
        element(&mut body, 0x0002, &class);
        element(&mut body, 0x0100, &0x0001_u16.to_le_bytes());
        let message_id_at = element(&mut body, 0x0110, &[0, 0]);
        element(&mut body, 0x0700, &[0, 0]);
        element(&mut body, 0x0800, &0x0001_u16.to_le_bytes());
        let sop_instance_at = element(&mut body, 0x1000, &[b'0'; UID_LENGTH]);

        let mut bytes = Vec::new();
        let group_length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        element(&mut bytes, 0x0000, &group_length.to_le_bytes());
        let offset = bytes.len();
        bytes.extend_from_slice(&body);
        Self { bytes, message_id_at: offset + message_id_at, sop_instance_at: offset + sop_instance_at }
    }
}

/// The contents of a C-STORE-RSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreResponse {
    pub(crate) message_id: u16,
    pub(crate) status: u16,
    /// The peer's Error Comment (0000,0902), empty when it sent none.
    pub(crate) comment: String,
}

impl StoreResponse {
    /// Reads an implicit little endian command set; `None` when it is no C-STORE-RSP with a message ID and a status.
    pub(crate) fn decode(command: &[u8]) -> Option<Self> {
        let (mut field, mut message_id, mut status) = (None, None, None);
        let mut comment = String::new();
        let mut rest = command;
        while let Some((&[_, _, low, high, a, b, c, d], after)) = rest.split_first_chunk::<8>() {
            let (value, after) = after.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize)?;
            let short = value.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes));
            match u16::from_le_bytes([low, high]) {
                0x0100 => field = short,
                0x0120 => message_id = short,
                0x0900 => status = short,
                0x0902 => comment = String::from_utf8_lossy(value).trim().to_owned(),
                _ => {}
            }
            rest = after;
        }
        (field == Some(0x8001)).then_some(())?;
        Some(Self { message_id: message_id?, status: status?, comment })
    }
}

/// The C-STORE-RSP of success to an encoded C-STORE-RQ; `None` when it is none.
pub(crate) fn success(request: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    element(&mut body, 0x0002, value(request, 0x0002)?);
    element(&mut body, 0x0100, &0x8001_u16.to_le_bytes());
    element(&mut body, 0x0120, value(request, 0x0110)?);
    element(&mut body, 0x0800, &0x0101_u16.to_le_bytes());
    element(&mut body, 0x0900, &[0, 0]);
    element(&mut body, 0x1000, value(request, 0x1000)?);
    let mut bytes = Vec::new();
    element(&mut bytes, 0x0000, &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

/// The Affected SOP Class UID and the Affected SOP Instance UID of an encoded C-STORE-RQ, padded as they came; `None` when it is none.
pub(crate) fn affected(request: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((value(request, 0x0002)?, value(request, 0x1000)?))
}

/// The value of one element of group 0000.
fn value(command: &[u8], number: u16) -> Option<&[u8]> {
    let mut rest = command;
    loop {
        let (&[_, _, low, high, a, b, c, d], after) = rest.split_first_chunk::<8>()?;
        let (value, after) = after.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize)?;
        if u16::from_le_bytes([low, high]) == number {
            return Some(value);
        }
        rest = after;
    }
}

/// Appends one element of group 0000 and returns the offset of its value.
fn element(out: &mut Vec<u8>, number: u16, value: &[u8]) -> usize {
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(value);
    out.len() - value.len()
}

#[cfg(test)]
mod tests {
    use dicom_dictionary_std::{tags, uids};
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

    use super::*;

    /// Reads a command set as another implementation does, by standing it in a file as an implicit VR dataset.
    fn read(command: &[u8]) -> InMemDicomObject {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN)
            .media_storage_sop_class_uid("1.2.3")
            .media_storage_sop_instance_uid("1.2.3.4")
            .build()
            .unwrap();
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        meta.write(&mut file).unwrap();
        file.extend_from_slice(command);
        dicom_object::from_reader(&file[..]).unwrap().into_inner()
    }

    #[test]
    fn the_request_is_a_command_set_of_the_right_group_length() {
        let mut request = StoreRequest::new(uids::CT_IMAGE_STORAGE);
        request.bytes[request.message_id_at] = 9;
        request.bytes[request.sop_instance_at..][..UID_LENGTH].fill(b'1');
        let object = read(&request.bytes);
        let number = |tag| object.element(tag).unwrap().to_int::<usize>().unwrap();
        assert_eq!(number(tags::COMMAND_GROUP_LENGTH), request.bytes.len() - 12);
        assert_eq!(number(tags::COMMAND_FIELD), 1);
        assert_eq!(number(tags::MESSAGE_ID), 9);
        assert_ne!(number(tags::COMMAND_DATA_SET_TYPE), 0x0101);
        let class = object.element(tags::AFFECTED_SOP_CLASS_UID).unwrap();
        assert_eq!(class.to_str().unwrap(), uids::CT_IMAGE_STORAGE);
        let instance = object.element(tags::AFFECTED_SOP_INSTANCE_UID).unwrap();
        assert_eq!(instance.to_str().unwrap(), "1".repeat(UID_LENGTH));
    }

    #[test]
    fn a_response_is_read_and_a_request_is_not_one() {
        let mut response = Vec::new();
        element(&mut response, 0x0100, &0x8001_u16.to_le_bytes());
        element(&mut response, 0x0120, &5_u16.to_le_bytes());
        element(&mut response, 0x0900, &0xA700_u16.to_le_bytes());
        element(&mut response, 0x0902, b"disk full ");
        let read = StoreResponse::decode(&response).unwrap();
        assert_eq!(read, StoreResponse { message_id: 5, status: 0xA700, comment: "disk full".into() });

        assert_eq!(StoreResponse::decode(&StoreRequest::new("1.2").bytes), None);
        assert_eq!(StoreResponse::decode(&response[..response.len() - 1]), None);
    }

    #[test]
    fn success_answers_the_message_that_was_sent() {
        let mut request = StoreRequest::new("1.2.840.10008.5.1.4.1.1.2");
        request.bytes[request.message_id_at] = 9;
        let response = StoreResponse::decode(&success(&request.bytes).unwrap()).unwrap();
        assert_eq!((response.message_id, response.status), (9, 0));
        assert_eq!(success(&request.bytes[..40]), None);
    }
}
