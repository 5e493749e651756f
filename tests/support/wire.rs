//! A peer that speaks DICOM byte by byte: what a test wants on the wire is what goes on it.

#![allow(dead_code, reason = "no test uses all of it")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, UserVariableItem, read_pdu, write_pdu,
};

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// An association request for CT (context 1) and Verification (context 3).
pub(crate) fn request() -> AssociationRQ {
    let context = |id, abstract_syntax: &str| PresentationContextProposed {
        id,
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: vec![EXPLICIT.into()],
    };
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "WIRE".into(),
        called_ae_title: "TIDEGATE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![context(1, CT), context(3, VERIFICATION)],
        user_variables: vec![UserVariableItem::MaxLength(16_384)],
    }
}

/// The peer's end of a connection.
pub(crate) struct Wire<S = TcpStream>(pub(crate) S);

/// A DIMSE response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) command_field: u16,
    pub(crate) message_id: u16,
    pub(crate) status: u16,
    pub(crate) comment: String,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects from another address of this host.
    #[allow(dead_code, reason = "not every test binary has two peers")]
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::of(socket.into())
    }

    /// Connects and associates; the answer must be an acceptance.
    pub(crate) fn associate(address: SocketAddr, request: AssociationRQ) -> (Self, AssociationAC) {
        Self::connect(address).accepted(request)
    }

    /// Associates; the answer must be an acceptance.
    pub(crate) fn accepted(mut self, request: AssociationRQ) -> (Self, AssociationAC) {
        match self.ask(request) {
            Some(Pdu::AssociationAC(answer)) => (self, answer),
            other => panic!("not accepted: {other:?}"),
        }
    }
}

impl<S: Read + Write> Wire<S> {
    /// Sends a request, and gives back whatever PDU answers it.
    pub(crate) fn ask(&mut self, request: AssociationRQ) -> Option<Pdu> {
        self.send(&encoded(request));
        self.pdu()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next PDU; `None` at the end of the connection.
    pub(crate) fn pdu(&mut self) -> Option<Pdu> {
        let mut bytes = vec![0; 6];
        if let Err(error) = self.0.read_exact(&mut bytes) {
            assert!(
                matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset),
                "{error}"
            );
            return None;
        }
        let length = u32::from_be_bytes(bytes[2..6].try_into().unwrap()) as usize;
        bytes.resize(6 + length, 0);
        self.0.read_exact(&mut bytes[6..]).unwrap();
        read_pdu(&bytes[..], 1 << 20, true).unwrap()
    }

    /// The next response; the next PDU must be one.
    pub(crate) fn response(&mut self) -> Response {
        let Some(Pdu::PData { data }) = self.pdu() else { panic!("no response") };
        let [value] = &data[..] else { panic!("a response is one PDV") };
        assert!(value.is_last);
        let element = |wanted: u16| {
            let mut rest = &value.data[..];
            while let Some((header, tail)) = rest.split_at_checked(8) {
                let length = u32::from_le_bytes(header[4..].try_into().unwrap()) as usize;
                if u16::from_le_bytes(header[2..4].try_into().unwrap()) == wanted {
                    return &tail[..length];
                }
                rest = &tail[length..];
            }
            &[]
        };
        let number = |wanted| u16::from_le_bytes(element(wanted).try_into().unwrap());
        Response {
            command_field: number(0x0100),
            message_id: number(0x0120),
            status: number(0x0900),
            comment: String::from_utf8_lossy(element(0x0902)).trim().to_owned(),
        }
    }

    /// Stores a dataset on context 1, in one piece, and gives back the answer.
    pub(crate) fn store(&mut self, message_id: u16, sop_instance_uid: &str, dataset: &[u8]) -> Response {
        self.send(&store_message(message_id, sop_instance_uid, dataset, 16_000));
        self.response()
    }

    /// Echoes on context 3, and gives back the answer.
    pub(crate) fn echo(&mut self) -> Response {
        self.send(&p_data(3, 3, &echo_command()));
        self.response()
    }

    pub(crate) fn release(mut self) {
        self.send(&[5, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        assert_eq!(self.pdu(), Some(Pdu::ReleaseRP));
    }
}

/// An A-ASSOCIATE-RQ PDU.
pub(crate) fn encoded(request: AssociationRQ) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &Pdu::AssociationRQ(request)).unwrap();
    bytes
}

/// The command set of a C-ECHO-RQ.
pub(crate) fn echo_command() -> Vec<u8> {
    let elements: [(u16, &[u8]); 4] =
        [(0x0002, VERIFICATION.as_bytes()), (0x0100, &[0x30, 0]), (0x0110, &[1, 0]), (0x0800, &[1, 1])];
    command(&elements)
}

/// A P-DATA-TF PDU with one PDV.
pub(crate) fn p_data(context_id: u8, control: u8, bytes: &[u8]) -> Vec<u8> {
    let mut pdu = vec![4, 0];
    pdu.extend((bytes.len() as u32 + 6).to_be_bytes());
    pdu.extend((bytes.len() as u32 + 2).to_be_bytes());
    pdu.extend([context_id, control]);
    pdu.extend(bytes);
    pdu
}

/// A command set of these elements, behind its group length.
pub(crate) fn command(elements: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (element, value) in elements {
        let odd = value.len() % 2;
        body.extend([0, 0]);
        body.extend(element.to_le_bytes());
        body.extend(((value.len() + odd) as u32).to_le_bytes());
        body.extend(*value);
        body.extend(vec![0; odd]);
    }
    let mut out = vec![0, 0, 0, 0, 4, 0, 0, 0];
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    out
}

/// The command set of a C-STORE-RQ for CT.
pub(crate) fn store_command(message_id: u16, sop_instance_uid: &str) -> Vec<u8> {
    command(&[
        (0x0002, CT.as_bytes()),
        (0x0100, &[1, 0]),
        (0x0110, &message_id.to_le_bytes()),
        (0x0700, &[0, 0]),
        (0x0800, &[0, 0]),
        (0x1000, sop_instance_uid.as_bytes()),
    ])
}

/// A whole C-STORE-RQ on context 1, its dataset in PDVs of `fragment` bytes.
pub(crate) fn store_message(message_id: u16, sop_instance_uid: &str, dataset: &[u8], fragment: usize) -> Vec<u8> {
    let mut out = p_data(1, 3, &store_command(message_id, sop_instance_uid));
    let mut fragments = dataset.chunks(fragment).peekable();
    while let Some(bytes) = fragments.next() {
        out.extend(p_data(1, if fragments.peek().is_none() { 2 } else { 0 }, bytes));
    }
    out
}

/// A CT dataset in explicit VR little endian with `pixels` bytes of pixel data, of study 1.2.3 and series 1.2.3.4.
pub(crate) fn dataset(sop_instance_uid: &str, pixels: usize) -> Vec<u8> {
    dataset_of(sop_instance_uid, ("1.2.3", "1.2.3.4"), pixels)
}

/// The same of another study and series.
pub(crate) fn dataset_of(sop_instance_uid: &str, of: (&str, &str), pixels: usize) -> Vec<u8> {
    dataset_with(sop_instance_uid, of, &[], pixels)
}

/// The same with Integer Strings of group 0020, in ascending order.
pub(crate) fn dataset_with(
    sop_instance_uid: &str,
    (study, series): (&str, &str),
    numbers: &[(u16, &str)],
    pixels: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels + 512);
    let mut text = |group: u16, element: u16, vr: &[u8; 2], value: &str| {
        let odd = value.len() % 2;
        out.extend(group.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend(vr);
        out.extend(((value.len() + odd) as u16).to_le_bytes());
        out.extend(value.as_bytes());
        out.extend(vec![if vr == b"UI" { 0 } else { b' ' }; odd]);
    };
    text(0x0008, 0x0016, b"UI", CT);
    text(0x0008, 0x0018, b"UI", sop_instance_uid);
    text(0x0010, 0x0010, b"PN", "Wire^Test");
    text(0x0020, 0x000D, b"UI", study);
    text(0x0020, 0x000E, b"UI", series);
    numbers.iter().for_each(|(element, value)| text(0x0020, *element, b"IS", value));
    out.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0]);
    out.extend((pixels as u32).to_le_bytes());
    let seed = sop_instance_uid.bytes().fold(7_u32, |a, b| a * 31 % 65_521 + u32::from(b));
    out.extend((0..pixels as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8));
    out
}
