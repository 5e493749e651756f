//! A receiver made for tests: this very test binary, started again as a process of its own. It can be told to misbehave.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dicom_object::FileMetaTableBuilder;
use dicom_ul::association::server::{ServerAssociation, ServerAssociationOptions};
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};

/// The state that its processes share.
struct Receiver {
    directory: PathBuf,
    /// `lose`: every fifth instance is acknowledged and not stored; `drop-N`: one in N. `cut`: every fifth is stored without its end.
    /// `leak`: a part of each is kept in memory. `refuse`: A700 to all. `syntax`: another transfer syntax in the file meta.
    fault: String,
    pause: Duration,
    taken: AtomicU64,
    leaked: Mutex<Vec<u8>>,
}

/// Serves until it is killed, as its environment says.
pub(crate) fn serve() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let listener = TcpListener::bind(variable("FAKE_LISTEN")).unwrap();
    // A node with more writers answers sooner.
    let writers: u64 = variable("TIDEGATE__WRITERS__COUNT").parse().unwrap_or(8);
    let receiver = Arc::new(Receiver {
        directory: variable("FAKE_DIR").into(),
        fault: variable("FAKE_FAULT"),
        pause: Duration::from_millis(if writers < 4 { 200 } else { 0 }),
        taken: AtomicU64::new(0),
        leaked: Mutex::default(),
    });
    for stream in listener.incoming() {
        let receiver = Arc::clone(&receiver);
        thread::spawn(move || receiver.associate(stream.unwrap()));
    }
}

impl Receiver {
    fn associate(&self, stream: TcpStream) {
        let syntaxes = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"];
        let options = ServerAssociationOptions::new().accept_any().promiscuous(true).max_pdu_length(65_536);
        let options = syntaxes.into_iter().fold(options, ServerAssociationOptions::with_transfer_syntax);
        let Ok(mut association) = options.establish(stream) else {
            return;
        };
        let (mut command, mut dataset) = (Vec::new(), Vec::new());
        while let Ok(pdu) = association.receive() {
            let Pdu::PData { data } = pdu else {
                let _ = association.send(&Pdu::ReleaseRP);
                return;
            };
            for pdv in data {
                let is_data = pdv.value_type == PDataValueType::Data;
                if is_data { &mut dataset } else { &mut command }.extend_from_slice(&pdv.data);
                if is_data && pdv.is_last {
                    let status = if self.fault == "refuse" { 0xA700 } else { 0 };
                    if status == 0 {
                        self.store(&association, pdv.presentation_context_id, &command, &dataset);
                    }
                    let answer = answer(pdv.presentation_context_id, &command, status);
                    if association.send(&answer).is_err() {
                        return;
                    }
                    command.clear();
                    dataset.clear();
                }
            }
        }
    }

    fn store(&self, association: &ServerAssociation<TcpStream>, context: u8, command: &[u8], dataset: &[u8]) {
        thread::sleep(self.pause);
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if self.fault == "leak" {
            self.leaked.lock().unwrap().extend_from_slice(&dataset[..dataset.len().min(65_536)]);
        }
        let faulty = number % 5 == 4;
        let every = self.fault.strip_prefix("drop-").and_then(|every| every.parse::<u64>().ok());
        if self.fault == "lose" && faulty || every.is_some_and(|every| number % every == every - 1) {
            return;
        }
        let contexts = association.presentation_contexts();
        let syntax = &contexts.iter().find(|each| each.id == context).unwrap().transfer_syntax;
        let kept = if self.fault == "cut" && faulty { &dataset[..dataset.len() - 1] } else { dataset };
        let syntax = if self.fault == "syntax" && faulty { "1.2.840.10008.1.2.4.90" } else { syntax };
        write_file(&self.directory, &text(command, 0x1000), &text(command, 0x0002), syntax, kept);
    }
}

/// Under a hidden name first: killed in between, nothing partial is seen.
fn write_file(directory: &Path, sop_instance: &str, sop_class: &str, syntax: &str, dataset: &[u8]) {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid(sop_class)
        .media_storage_sop_instance_uid(sop_instance)
        .build()
        .unwrap();
    let hidden = directory.join(".unfinished");
    fs::create_dir_all(&hidden).unwrap();
    let mut file = fs::File::create(hidden.join(sop_instance)).unwrap();
    file.write_all(&[0; 128]).and_then(|()| file.write_all(b"DICM")).unwrap();
    meta.write(&mut file).unwrap();
    file.write_all(dataset).unwrap();
    fs::rename(hidden.join(sop_instance), directory.join(sop_instance)).unwrap();
}

/// The elements of a command set: number and value.
fn elements(command: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = command;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        found.push((u16::from_le_bytes([header[2], header[3]]), &after[..length]));
        rest = &after[length..];
    }
    found
}

fn value(command: &[u8], element: u16) -> &[u8] {
    elements(command).into_iter().find(|(number, _)| *number == element).unwrap().1
}

fn text(command: &[u8], element: u16) -> String {
    String::from_utf8(value(command, element).to_vec()).unwrap().trim_end_matches('\0').to_owned()
}

fn answer(context: u8, command: &[u8], status: u16) -> Pdu {
    let id = value(command, 0x0110);
    let message_id = u16::from_le_bytes([id[0], id[1]]);
    let mut data = Vec::new();
    for (element, value) in [(0x0100_u16, 0x8001_u16), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status)] {
        data.extend_from_slice(&[0, 0]);
        data.extend_from_slice(&element.to_le_bytes());
        data.extend_from_slice(&2_u32.to_le_bytes());
        data.extend_from_slice(&value.to_le_bytes());
    }
    let (value_type, is_last) = (PDataValueType::Command, true);
    Pdu::PData { data: vec![PDataValue { presentation_context_id: context, value_type, is_last, data }] }
}
