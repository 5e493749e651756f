//! A destination that answers C-FIND as a test says (PS3.4 annex C).

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dicom_ul::pdu::{
    AssociationAC, PDataValueType, Pdu, PresentationContextResult, PresentationContextResultReason, UserVariableItem,
    write_pdu,
};
use parking_lot::Mutex;

use super::IMPLICIT;
use super::scp::{text, value};
use crate::wire::{Wire, command, p_data};

const STUDY_ROOT_FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";

/// Instances by series, and those by study.
pub(crate) type Held = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// How it answers the questions for a study and for instances. The one for series is answered as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Without the Number of Study Related Instances, which is an optional key.
    Terse,
    /// Backwards, each match twice, and matches of another study between them.
    Untidy,
    /// Its context is refused.
    Refuses,
    /// The final status comes instead of matches, with a comment.
    Fails(u16),
    /// As it should, after so many seconds.
    Slow(u64),
    /// A match, and then nothing.
    Hangs,
    /// The connection is closed behind a match.
    Dies,
    /// The first match again and again, until the peer is gone.
    Endless,
    /// A match of that many bytes.
    Long(usize),
    /// A match that is no dataset.
    Garbage,
}

pub(crate) struct Finder {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
    /// Questions for a study.
    asked: Arc<AtomicUsize>,
    /// Matches that were sent.
    sent: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Finder {
    pub(crate) fn new(held: Held, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (held, asked) = (Arc::new(Mutex::new(held)), Arc::<AtomicUsize>::default());
        let finder = Self { address, held, asked, sent: Arc::default(), requests: Arc::default() };
        let (sent, requests) = (finder.sent.clone(), finder.requests.clone());
        let (held, asked) = (finder.held.clone(), finder.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let wire = Wire(stream.unwrap());
                let titles = Serving { wire, held: &held, manner, asked: &asked, sent: &sent }.serve();
                requests.lock().extend(titles);
            }
        });
        finder
    }

    /// The table of the configuration.
    pub(crate) fn destination(&self) -> String {
        super::destination(self.address, "")
    }

    /// The table of the configuration of a node that it sends to as that AE title.
    pub(crate) fn peer(&self, ae_title: &str) -> String {
        format!("[[peer]]\nae_title = \"{ae_title}\"\naddress = \"{}\"\n", self.address)
    }

    /// What it has from now on.
    pub(crate) fn hold(&self, held: Held) {
        *self.held.lock() = held;
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Calling and called AE titles of the associations that have ended.
    pub(crate) fn titles(&self) -> Vec<(String, String)> {
        self.requests.lock().clone()
    }
}

struct Serving<'a> {
    wire: Wire<TcpStream>,
    held: &'a Mutex<Held>,
    manner: Manner,
    asked: &'a AtomicUsize,
    sent: &'a AtomicUsize,
}

impl Serving<'_> {
    fn serve(mut self) -> Option<(String, String)> {
        let Some(Pdu::AssociationRQ(request)) = self.wire.pdu() else { return None };
        let titles = (request.calling_ae_title.clone(), request.called_ae_title.clone());
        let [context] = &request.presentation_contexts[..] else { panic!("one context") };
        assert_eq!(
            (&*context.abstract_syntax, &context.transfer_syntaxes[..]),
            (STUDY_ROOT_FIND, &[IMPLICIT.to_owned()][..])
        );
        let reason = match self.manner {
            Manner::Refuses => PresentationContextResultReason::AbstractSyntaxNotSupported,
            _ => PresentationContextResultReason::Acceptance,
        };
        let answer = AssociationAC {
            protocol_version: 1,
            calling_ae_title: request.calling_ae_title,
            called_ae_title: request.called_ae_title,
            application_context_name: request.application_context_name,
            presentation_contexts: vec![PresentationContextResult {
                id: 1,
                reason,
                transfer_syntax: IMPLICIT.to_owned(),
            }],
            user_variables: vec![UserVariableItem::MaxLength(16_384)],
        };
        let mut bytes = Vec::new();
        write_pdu(&mut bytes, &Pdu::AssociationAC(answer)).unwrap();
        self.wire.send(&bytes);
        while self.message().is_some() {}
        Some(titles)
    }

    /// Answers a question. `None`: the association is over.
    fn message(&mut self) -> Option<()> {
        let (mut command_set, mut identifier, mut is_over) = (Vec::new(), Vec::new(), false);
        while !is_over {
            match self.wire.pdu()? {
                Pdu::PData { data } => {
                    for value in data {
                        match value.value_type {
                            PDataValueType::Command => command_set.extend(value.data),
                            PDataValueType::Data => {
                                identifier.extend(value.data);
                                is_over = value.is_last;
                            }
                        }
                    }
                }
                Pdu::ReleaseRQ => {
                    self.wire.send(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
                    return None;
                }
                _ => return None,
            }
        }
        let key = |element| text(&value(&identifier, element));
        let (level, study, series) = (key(0x0052), key(0x000D), key(0x000E));
        let mut matches: Vec<Vec<u8>> = Vec::new();
        let held = self.held.lock().clone();
        let of_study = held.get(&study);
        if level.trim() == "STUDY" {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let count = of_study.map(|of_study| of_study.values().map(Vec::len).sum());
            return self.answer_study(&command_set, &study, count);
        }
        if level.trim() == "SERIES" {
            let series = of_study.into_iter().flat_map(|series| series.keys());
            matches.extend(series.map(|uid| identifier_of(&study, uid, None)));
        } else {
            assert!(!series.is_empty(), "a hierarchical search names the series");
            let instances = of_study.and_then(|of_study| of_study.get(&series)).into_iter().flatten();
            matches.extend(instances.map(|uid| identifier_of(&study, &series, Some(uid))));
            return self.answer_images(&command_set, matches);
        }
        self.answer(&command_set, &matches, 0)
    }

    fn answer_study(&mut self, command_set: &[u8], study: &str, count: Option<usize>) -> Option<()> {
        let number = |count: usize| match self.manner {
            Manner::Terse => Vec::new(),
            _ => element(0x0020, 0x1208, &count.to_string()),
        };
        let one = |count| [element(0x0008, 0x0052, "STUDY "), element(0x0020, 0x000D, study), number(count)].concat();
        let matches: Vec<_> = count.map(one).into_iter().collect();
        match self.manner {
            Manner::Fails(status) => self.answer(command_set, &[], status),
            Manner::Hangs => {
                while self.wire.pdu().is_some() {}
                None
            }
            Manner::Dies => None,
            Manner::Slow(seconds) => {
                std::thread::sleep(Duration::from_secs(seconds));
                self.answer(command_set, &matches, 0)
            }
            _ => self.answer(command_set, &matches, 0),
        }
    }

    fn answer_images(&mut self, command_set: &[u8], mut matches: Vec<Vec<u8>>) -> Option<()> {
        match self.manner {
            Manner::Honest | Manner::Terse | Manner::Slow(_) | Manner::Refuses => {}
            Manner::Untidy => {
                matches = matches.into_iter().rev().flat_map(|one| [one.clone(), one]).collect();
                matches.insert(1, identifier_of("1.9.9", "1.9.9.9", Some("1.9.9.9.9")));
                matches.push(identifier_of("1.9.9", "1.9.9.9", Some("1.9.9.9.8")));
            }
            Manner::Fails(status) => return self.answer(command_set, &[], status),
            Manner::Hangs => {
                self.send_match(command_set, &matches[0])?;
                while self.wire.pdu().is_some() {}
                return None;
            }
            Manner::Dies => {
                self.send_match(command_set, &matches[0])?;
                return None;
            }
            Manner::Endless => loop {
                self.send_match(command_set, &matches[0])?;
            },
            Manner::Long(bytes) => matches[0].extend(element(0x0010, 0x0010, &"A".repeat(bytes))),
            Manner::Garbage => matches[0].truncate(9),
        }
        self.answer(command_set, &matches, 0)
    }

    fn answer(&mut self, command_set: &[u8], matches: &[Vec<u8>], status: u16) -> Option<()> {
        for one in matches {
            self.send_match(command_set, one)?;
        }
        self.send(&p_data(1, 3, &response(command_set, status)))
    }

    fn send_match(&mut self, command_set: &[u8], identifier: &[u8]) -> Option<()> {
        let mut message = p_data(1, 3, &response(command_set, 0xFF00));
        let mut pieces = identifier.chunks(16_000).peekable();
        while let Some(piece) = pieces.next() {
            message.extend(p_data(1, if pieces.peek().is_none() { 2 } else { 0 }, piece));
        }
        self.sent.fetch_add(1, Ordering::SeqCst);
        self.send(&message)
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        std::io::Write::write_all(&mut self.wire.0, bytes).ok()
    }
}

fn element(group: u16, number: u16, value: &str) -> Vec<u8> {
    let odd = value.len() % 2;
    let mut out = [group.to_le_bytes(), number.to_le_bytes()].concat();
    out.extend(((value.len() + odd) as u32).to_le_bytes());
    out.extend(value.as_bytes());
    out.extend(vec![0; odd]);
    out
}

fn identifier_of(study: &str, series: &str, instance: Option<&str>) -> Vec<u8> {
    let level = element(0x0008, 0x0052, if instance.is_some() { "IMAGE " } else { "SERIES" });
    let instance = instance.map(|uid| element(0x0008, 0x0018, uid)).unwrap_or_default();
    [instance, level, element(0x0020, 0x000D, study), element(0x0020, 0x000E, series)].concat()
}

fn response(command_set: &[u8], status: u16) -> Vec<u8> {
    let data_set: u16 = if status == 0xFF00 { 0 } else { 0x0101 };
    command(&[
        (0x0002, STUDY_ROOT_FIND.as_bytes()),
        (0x0100, &0x8020_u16.to_le_bytes()),
        (0x0120, &value(command_set, 0x0110)),
        (0x0800, &data_set.to_le_bytes()),
        (0x0900, &status.to_le_bytes()),
        (0x0902, b"as the test says"),
    ])
}
