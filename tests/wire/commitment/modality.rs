//! A modality that asks for storage commitment, and listens for reports.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, RequestorRoles, UserVariableItem, write_pdu,
};

use crate::wire::{CT, EXPLICIT, Wire, command, p_data, request};

pub(crate) const PUSH_MODEL: &str = "1.2.840.10008.1.20.1";
pub(crate) const PUSH_INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// The context of the push model in [`with_commitment`].
pub(crate) const CONTEXT: u8 = 5;

/// The usual request, with a context of the push model.
pub(crate) fn with_commitment() -> AssociationRQ {
    let mut request = request();
    request.presentation_contexts.push(PresentationContextProposed {
        id: CONTEXT,
        abstract_syntax: PUSH_MODEL.into(),
        transfer_syntaxes: vec![EXPLICIT.into()],
    });
    request
}

fn element(out: &mut Vec<u8>, (group, element): (u16, u16), vr: &[u8; 2], value: &[u8]) {
    out.extend(group.to_le_bytes());
    out.extend(element.to_le_bytes());
    out.extend(vr);
    let odd = value.len() % 2;
    if vr == b"SQ" {
        out.extend([0, 0]);
        out.extend((value.len() as u32).to_le_bytes());
    } else {
        out.extend(((value.len() + odd) as u16).to_le_bytes());
    }
    out.extend(value);
    out.extend(vec![0; odd]);
}

/// Action information in explicit VR.
pub(crate) fn information<'a>(transaction: &str, references: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut items = Vec::new();
    for (class, instance) in references {
        let mut item = Vec::new();
        element(&mut item, (0x0008, 0x1150), b"UI", class.as_bytes());
        element(&mut item, (0x0008, 0x1155), b"UI", instance.as_bytes());
        items.extend([0xFE, 0xFF, 0x00, 0xE0]);
        items.extend((item.len() as u32).to_le_bytes());
        items.extend(item);
    }
    let mut out = Vec::new();
    element(&mut out, (0x0008, 0x1195), b"UI", transaction.as_bytes());
    element(&mut out, (0x0008, 0x1199), b"SQ", &items);
    out
}

/// The same of CT instances.
pub(crate) fn of_ct(transaction: &str, instances: &[&str]) -> Vec<u8> {
    information(transaction, instances.iter().map(|instance| (CT, *instance)))
}

/// A whole N-ACTION-RQ.
pub(crate) fn action(message_id: u16, class: &str, instance: &str, action_type: u16, information: &[u8]) -> Vec<u8> {
    let command = command(&[
        (0x0003, class.as_bytes()),
        (0x0100, &0x0130_u16.to_le_bytes()),
        (0x0110, &message_id.to_le_bytes()),
        (0x0800, &[0, 0]),
        (0x1001, instance.as_bytes()),
        (0x1008, &action_type.to_le_bytes()),
    ]);
    let mut out = p_data(CONTEXT, 3, &command);
    let mut fragments = information.chunks(16_000).peekable();
    if fragments.peek().is_none() {
        out.extend(p_data(CONTEXT, 2, &[]));
    }
    while let Some(bytes) = fragments.next() {
        out.extend(p_data(CONTEXT, if fragments.peek().is_none() { 2 } else { 0 }, bytes));
    }
    out
}

/// Asks, and gives back the status of the response, which is the next message.
pub(crate) fn ask(wire: &mut Wire, information: &[u8]) -> u16 {
    wire.send(&action(7, PUSH_MODEL, PUSH_INSTANCE, 1, information));
    let response = wire.response();
    assert_eq!((response.command_field, response.message_id), (0x8130, 7));
    response.status
}

/// A report as it came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) event_type: u16,
    pub(crate) transaction: String,
    pub(crate) retrieve_ae_title: String,
    pub(crate) committed: Vec<String>,
    /// SOP Instance UID and reason.
    pub(crate) failed: Vec<(String, u16)>,
}

/// Reads an N-EVENT-REPORT-RQ and answers it with this status; `None`: it is not answered.
pub(crate) fn report(wire: &mut Wire, status: Option<u16>) -> Report {
    report_after(wire, status, || {})
}

/// The same, with something done between the two.
pub(crate) fn report_after(wire: &mut Wire, status: Option<u16>, between: impl FnOnce()) -> Report {
    let (mut command_set, mut information) = (Vec::new(), Vec::new());
    let mut context = 0;
    loop {
        let pdu = wire.pdu();
        let Some(Pdu::PData { data }) = pdu else { panic!("no report: {pdu:?}") };
        let mut is_over = false;
        for value in data {
            context = value.presentation_context_id;
            let is_command = matches!(value.value_type, dicom_ul::pdu::PDataValueType::Command);
            if is_command {
                command_set.extend(value.data)
            } else {
                information.extend(value.data)
            }
            is_over |= value.is_last && !is_command;
        }
        if is_over {
            break;
        }
    }
    let number = |wanted: u16| {
        let mut rest = &command_set[..];
        while let Some((header, tail)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes(header[4..].try_into().unwrap()) as usize;
            if u16::from_le_bytes(header[2..4].try_into().unwrap()) == wanted {
                return u16::from_le_bytes(tail[..2].try_into().unwrap());
            }
            rest = &tail[length..];
        }
        panic!("no element {wanted:04X}");
    };
    assert_eq!(number(0x0100), 0x0100, "N-EVENT-REPORT-RQ");
    let report = Report { event_type: number(0x1002), ..read(&information) };
    between();
    if let Some(status) = status {
        let response = command(&[
            (0x0100, &0x8100_u16.to_le_bytes()),
            (0x0120, &number(0x0110).to_le_bytes()),
            (0x0800, &[1, 1]),
            (0x0900, &status.to_le_bytes()),
        ]);
        wire.send(&p_data(context, 3, &response));
    }
    report
}

/// Event information in explicit VR, with sequences and items of any length.
pub(crate) fn read(mut rest: &[u8]) -> Report {
    let (mut report, mut instance, mut is_failed) = (Report::default(), String::new(), false);
    while rest.len() >= 8 {
        let tag = (u16::from_le_bytes([rest[0], rest[1]]), u16::from_le_bytes([rest[2], rest[3]]));
        if tag.0 == 0xFFFE {
            rest = &rest[8..];
            continue;
        }
        if &rest[4..6] == b"SQ" {
            is_failed = tag == (0x0008, 0x1198);
            rest = &rest[12..];
            continue;
        }
        let length = usize::from(u16::from_le_bytes([rest[6], rest[7]]));
        let value = &rest[8..8 + length];
        rest = &rest[8 + length..];
        let text = || String::from_utf8_lossy(value).trim_matches(['\0', ' ']).to_owned();
        match tag {
            (0x0008, 0x0054) => report.retrieve_ae_title = text(),
            (0x0008, 0x1195) => report.transaction = text(),
            (0x0008, 0x1155) => {
                instance = text();
                if !is_failed {
                    report.committed.push(instance.clone());
                }
            }
            (0x0008, 0x1197) => {
                report.failed.push((instance.clone(), u16::from_le_bytes(value.try_into().unwrap())));
            }
            _ => {}
        }
    }
    report.committed.sort_unstable();
    report.failed.sort_unstable();
    report
}

/// Where a modality listens for reports.
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// The same at that address.
    pub(crate) fn on(address: SocketAddr) -> Self {
        Self(TcpListener::bind(address).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// `[[peer]]` of this listener, in a configuration file beside `directory`.
    pub(crate) fn configuration(&self) -> String {
        format!("[[peer]]\nae_title = \"WIRE\"\naddress = \"{}\"\n", self.address())
    }

    /// Whether nobody comes for so long.
    pub(crate) fn is_quiet_for(&self, time: Duration) -> bool {
        let began = std::time::Instant::now();
        self.0.set_nonblocking(true).unwrap();
        let mut is_quiet = true;
        while is_quiet && began.elapsed() < time {
            is_quiet = self.0.accept().is_err();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.0.set_nonblocking(false).unwrap();
        is_quiet
    }

    /// Accepts a connection. One without a word asks whether anybody is there.
    fn accept(&self) -> (Wire, AssociationRQ) {
        loop {
            let (stream, _) = self.0.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut wire = Wire(stream);
            match wire.pdu() {
                Some(Pdu::AssociationRQ(request)) => return (wire, request),
                None => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Accepts an association, with the role or without it.
    pub(crate) fn associated(&self, takes_the_role: bool) -> Wire<TcpStream> {
        let (mut wire, request) = self.accept();
        assert_eq!((request.calling_ae_title.trim(), request.called_ae_title.trim()), ("TIDEGATE", "WIRE"));
        let proposed = &request.presentation_contexts[0];
        assert_eq!(proposed.abstract_syntax, PUSH_MODEL);
        let roles = request.user_variables.iter().find_map(|item| match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) if uid == PUSH_MODEL => Some(*roles),
            _ => None,
        });
        assert_eq!(roles, Some(RequestorRoles { scu: false, scp: true }));
        let mut user_variables = vec![UserVariableItem::MaxLength(16_384)];
        if takes_the_role {
            let roles = RequestorRoles { scu: false, scp: true };
            user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(PUSH_MODEL.into(), roles));
        }
        let answer = AssociationAC {
            protocol_version: 1,
            calling_ae_title: request.calling_ae_title.clone(),
            called_ae_title: request.called_ae_title.clone(),
            application_context_name: request.application_context_name.clone(),
            presentation_contexts: vec![PresentationContextResult {
                id: proposed.id,
                reason: PresentationContextResultReason::Acceptance,
                transfer_syntax: EXPLICIT.into(),
            }],
            user_variables,
        };
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, &Pdu::AssociationAC(answer)).unwrap();
        wire.0.write_all(&bytes).unwrap();
        wire
    }

    /// Takes one report on an association of its own, and answers the release.
    pub(crate) fn take(&self, status: u16) -> Report {
        let mut wire = self.associated(true);
        let report = report(&mut wire, Some(status));
        released(&mut wire);
        report
    }

    /// The same on a thread of its own.
    pub(crate) fn taking(self, status: u16) -> JoinHandle<(Self, Report)> {
        std::thread::spawn(move || {
            let report = self.take(status);
            (self, report)
        })
    }
}

/// The node releases, and is answered.
pub(crate) fn released(wire: &mut Wire) {
    assert_eq!(wire.pdu(), Some(Pdu::ReleaseRQ));
    wire.send(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
}
