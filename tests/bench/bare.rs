//! The least that sends and the least that receives, for comparison with a node that delivers:
//!
//! ```text
//! bare sink PORT COUNT                        takes COUNT instances from whoever comes, stores none
//! bare send HOST:PORT AE ASSOCIATIONS < LIST  sends each file of LIST: PATH, offset of the dataset, SOP class, transfer syntax and SOP instance in a line
//! ```
//!
//! Both print a line when they are done: instances, bytes of datasets, and seconds from the first to the last.

use std::collections::HashMap;
use std::env::args;
use std::fs::read;
use std::io::{self, IoSlice, Read, Write, stdin};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use tidegate_protocol::requestor::{Event as Answer, Proposal, ProposedContext, Role};
use tidegate_protocol::{Association, ErrorComment, Event, Invocation, Policy, Priority, Requestor, Status};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["sink", port, count] => sink(number(port)?, number(count)?),
        ["send", target, called, associations] => send(target, called, number(associations)?),
        _ => Err(io::Error::other("see the head of this program")),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| io::Error::other(format!("no number: {word}")))
}

fn say(instances: usize, bytes: u64, began: Instant) {
    let line = format!("{instances} instances {bytes} bytes {:.3} s\n", began.elapsed().as_secs_f64());
    let _ = io::stdout().write_all(line.as_bytes());
}

fn sink(port: u16, count: usize) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let (arrived, arrivals) = sync_channel(1024);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let arrived = arrived.clone();
            thread::spawn(move || serve(socket, &arrived));
        }
    });
    let mut began = None;
    let mut bytes = 0;
    for _ in 0..count {
        bytes += arrivals.recv().map_err(io::Error::other)?;
        began.get_or_insert_with(Instant::now);
    }
    say(count, bytes, began.unwrap_or_else(Instant::now));
    Ok(())
}

fn serve(mut socket: TcpStream, arrived: &SyncSender<u64>) -> io::Result<()> {
    let mut association = Association::new(Arc::new(Policy {
        ae_title: "SINK".to_owned(),
        require_called_ae_title: false,
        max_pdu_length: 256 * 1024,
        max_request_length: 64 * 1024,
        max_command_set: 1024,
        async_operations: 1,
        strict: false,
        accept_unknown_sop_classes: true,
        accept_unknown_transfer_syntaxes: true,
        storage_commitment: false,
        transfer_syntax_preference: Vec::new(),
    }));
    socket.set_nodelay(true)?;
    let mut input = BytesMut::new();
    let mut buffer = vec![0; 512 * 1024];
    let mut under_way = None;
    let mut bytes = 0;
    loop {
        while let Some(event) = association.poll(&mut input) {
            match event {
                Event::AssociateRequested(_) => association.accept(),
                Event::StoreRequested(request) => under_way = Some(request.operation),
                Event::Fragment(piece) => bytes += piece.len() as u64,
                Event::DatasetComplete => {
                    if let Some(operation) = under_way.take() {
                        association.respond(&operation, Status::Success, &ErrorComment::new(""));
                        let _ = arrived.send(std::mem::take(&mut bytes));
                    }
                }
                Event::ReleaseRequested => {
                    association.answer_release();
                    return socket.write_all(&association.take_output());
                }
                Event::Echoed => {}
                _ => return Ok(()),
            }
            let output = association.take_output();
            if !output.is_empty() {
                socket.write_all(&output)?;
            }
        }
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        input.extend_from_slice(&buffer[..read]);
    }
}

struct Item {
    path: String,
    offset: usize,
    class: Arc<str>,
    syntax: Arc<str>,
    instance: String,
}

fn send(target: &str, called: &str, associations: usize) -> io::Result<()> {
    let mut list = String::new();
    stdin().read_to_string(&mut list)?;
    let items: Vec<Item> = list.lines().map(item).collect::<io::Result<_>>()?;
    let count = items.len();
    let mut kinds: Vec<(Arc<str>, Arc<str>)> =
        items.iter().map(|item| (item.class.clone(), item.syntax.clone())).collect();
    kinds.sort();
    kinds.dedup();
    let began = Instant::now();
    let rest = Mutex::new(items.into_iter());
    let bytes = thread::scope(|scope| {
        let all: Vec<_> = (0..associations).map(|_| scope.spawn(|| send_some(target, called, &kinds, &rest))).collect();
        all.into_iter().map(|one| one.join().map_err(|_| io::Error::other("panicked"))?).sum::<io::Result<u64>>()
    })?;
    say(count, bytes, began);
    Ok(())
}

fn item(line: &str) -> io::Result<Item> {
    let mut words = line.split('\t');
    let mut next = || words.next().ok_or_else(|| io::Error::other(format!("a line lacks a word: {line}")));
    Ok(Item {
        path: next()?.to_owned(),
        offset: number(next()?)?,
        class: next()?.into(),
        syntax: next()?.into(),
        instance: next()?.to_owned(),
    })
}

/// One association: the next of the rest, until there is none.
fn send_some(
    target: &str,
    called: &str,
    kinds: &[(Arc<str>, Arc<str>)],
    rest: &Mutex<std::vec::IntoIter<Item>>,
) -> io::Result<u64> {
    let contexts = kinds
        .iter()
        .map(|(class, syntax)| ProposedContext {
            abstract_syntax: class.clone(),
            transfer_syntaxes: vec![syntax.clone()],
            role: Role::Scu,
        })
        .collect();
    let mut requestor = Requestor::new(Proposal {
        calling_ae_title: "BARE".to_owned(),
        called_ae_title: called.to_owned(),
        contexts,
        max_pdu_length: 16 * 1024,
        max_command_set: 1024,
        async_operations: 1,
    })
    .map_err(io::Error::other)?;
    let mut socket = TcpStream::connect(target)?;
    socket.set_nodelay(true)?;
    let mut input = BytesMut::new();
    let Answer::Accepted(acceptance) = answer(&mut requestor, &mut socket, &mut input)? else {
        return Err(io::Error::other("no association"));
    };
    let ids: HashMap<_, _> = kinds.iter().zip(acceptance.contexts.iter().map(|context| context.id)).collect();
    let mut bytes = 0;
    loop {
        let next = rest.lock().map_err(|_| io::Error::other("poisoned"))?.next();
        let Some(item) = next else { break };
        let file = read(&item.path)?;
        let dataset = &file[item.offset..];
        bytes += dataset.len() as u64;
        let store =
            Invocation::Store { sop_class: &item.class, sop_instance: &item.instance, priority: Priority::Medium };
        requestor.begin(ids[&(item.class.clone(), item.syntax.clone())], &store).map_err(io::Error::other)?;
        let mut front = requestor.take_output();
        let most = requestor.most_fragment_bytes();
        let count = dataset.len().div_ceil(most);
        for (number, fragment) in dataset.chunks(most).enumerate() {
            let header = requestor.fragment(fragment.len(), number + 1 == count);
            front.extend_from_slice(&header.ok_or_else(|| io::Error::other("no dataset under way"))?);
            let mut slices = &mut [IoSlice::new(&front), IoSlice::new(fragment)][..];
            while !slices.is_empty() {
                let written = socket.write_vectored(slices)?;
                IoSlice::advance_slices(&mut slices, written);
            }
            front.clear();
        }
        match answer(&mut requestor, &mut socket, &mut input)? {
            Answer::Responded(response) if response.status == 0 => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
    requestor.release().map_err(io::Error::other)?;
    answer(&mut requestor, &mut socket, &mut input)?;
    Ok(bytes)
}

fn answer(requestor: &mut Requestor, socket: &mut TcpStream, input: &mut BytesMut) -> io::Result<Answer> {
    let mut buffer = [0; 4096];
    loop {
        socket.write_all(&requestor.take_output())?;
        if let Some(event) = requestor.poll(input) {
            return Ok(event);
        }
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Err(io::Error::other("closed"));
        }
        input.extend_from_slice(&buffer[..read]);
    }
}
