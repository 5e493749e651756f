//! The raw sink, the limit that a receiver is held against: the same bytes, files and syncs, and no DICOM.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;
use thiserror::Error;

use crate::commit::{Durability, StudyWriter};
use crate::discard;
use crate::generate::{Encoding, MAX_NATIVE_BYTES, ct_image};
use crate::raw::{FAILED, STORED};
use crate::report::{Report, Tally};
use crate::usage::Usage;

/// Bytes read and written at a time, and the whole of what a connection holds.
const BUFFER_BYTES: usize = 1 << 20;

/// What the sink writes, and where its bytes come from.
#[derive(Debug, Args)]
pub(crate) struct RawSinkArgs {
    /// Directory to write under; made when it is missing
    #[arg(long, required_unless_present = "discard")]
    dir: Option<PathBuf>,
    /// What is synced for each file
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
    /// Files to write in all, without a network
    #[arg(long, required_unless_present = "listen")]
    files: Option<u64>,
    /// Pixel data of the CT image in each file
    #[arg(long, default_value = "512 KiB")]
    size: ByteSize,
    /// Threads that write
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    threads: u32,
    /// Take the files from connections instead, as `store --raw` sends them; port 0 picks a free one and stdout says which
    #[arg(long, value_name = "ADDR:PORT", conflicts_with_all = ["files", "threads"])]
    listen: Option<SocketAddr>,
    /// Connections to serve before the sink reports and ends
    #[arg(long, default_value_t = 8, requires = "listen", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Answer at once and write nothing: the limit of the generator itself
    #[arg(long, requires = "listen")]
    discard: bool,
    /// Speak DICOM: accept every association and answer every C-STORE with success
    #[arg(long, requires = "discard")]
    dicom: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Why the sink could not run.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    #[error("--size is {0}: more than one dataset's pixel data can hold")]
    SizeTooLarge(ByteSize),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot accept a connection")]
    Accept(#[source] io::Error),
    #[error("cannot write under {directory}")]
    Write { directory: PathBuf, source: io::Error },
    #[error("a connection failed")]
    Connection(#[source] io::Error),
    #[error("a thread ended by a panic")]
    Panicked,
}

/// Writes everything and prints the result.
///
/// # Errors
/// The first of any thread or connection.
pub(crate) fn run(args: &RawSinkArgs) -> Result<bool, SinkError> {
    let (elapsed, tallies, before) = match args.listen {
        Some(address) => serve(args, address)?,
        None => write_files(args)?,
    };
    let mut tally = Tally::default();
    for partial in tallies {
        tally.merge(partial);
    }
    let report = Report { unit: "files", tally, elapsed, usage: Usage::now().since(before) };
    print!("{}", if args.json { report.json() } else { report.text() });
    Ok(report.tally.failed() == 0)
}

type Measured = (Duration, Vec<Tally>, Usage);

/// Writes `--files` files from `--threads` threads.
fn write_files(args: &RawSinkArgs) -> Result<Measured, SinkError> {
    if args.size.as_u64() > MAX_NATIVE_BYTES {
        return Err(SinkError::SizeTooLarge(args.size));
    }
    let dataset = ct_image(args.size.as_u64(), Encoding::Explicit, 1).to_bytes();
    let (files, threads) = (args.files.unwrap_or_default(), u64::from(args.threads));
    let (started, before) = (Instant::now(), Usage::now());
    let tallies = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let share = files / threads + u64::from(number < files % threads);
                let dataset = &dataset;
                scope.spawn(move || write_share(args, number as usize, share, dataset))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| SinkError::Panicked)?).collect::<Result<_, _>>()
    })?;
    Ok((started.elapsed(), tallies, before))
}

fn write_share(args: &RawSinkArgs, number: usize, share: u64, bytes: &[u8]) -> Result<Tally, SinkError> {
    let directory = args.dir.as_deref().unwrap_or(Path::new("."));
    let failed = |source| SinkError::Write { directory: directory.to_owned(), source };
    let mut tally = Tally::default();
    let mut writer = StudyWriter::new(directory, number, args.durability).map_err(failed)?;
    for _ in 0..share {
        let begun = Instant::now();
        let mut file = writer.begin().map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.commit()).map_err(failed)?;
        tally.latencies.push(begun.elapsed());
        tally.stored += 1;
        tally.stored_bytes += bytes.len() as u64;
    }
    Ok(tally)
}

/// Serves `--connections` connections; the clock runs from the first of them to the end of the last.
fn serve(args: &RawSinkArgs, address: SocketAddr) -> Result<Measured, SinkError> {
    if let Some(directory) = &args.dir {
        fs::create_dir_all(directory).map_err(|source| SinkError::Write { directory: directory.clone(), source })?;
    }
    let failed = |source| SinkError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    println!("raw sink listening on {}", listener.local_addr().map_err(failed)?);
    let (mut started, mut before) = (Instant::now(), Usage::now());
    let tallies = thread::scope(|scope| {
        let mut running = Vec::new();
        for number in 0..args.connections as usize {
            let (stream, _) = listener.accept().map_err(SinkError::Accept)?;
            if number == 0 {
                (started, before) = (Instant::now(), Usage::now());
            }
            running.push(scope.spawn(move || serve_connection(args, number, stream)));
        }
        running.into_iter().map(|thread| thread.join().map_err(|_| SinkError::Panicked)?).collect::<Result<_, _>>()
    })?;
    Ok((started.elapsed(), tallies, before))
}

fn serve_connection(args: &RawSinkArgs, number: usize, mut stream: TcpStream) -> Result<Tally, SinkError> {
    stream.set_nodelay(true).map_err(SinkError::Connection)?;
    if args.dicom {
        return discard::serve(stream).map_err(SinkError::Connection);
    }
    let mut writer = match &args.dir {
        Some(directory) if !args.discard => Some(
            StudyWriter::new(directory, number, args.durability)
                .map_err(|source| SinkError::Write { directory: directory.clone(), source })?,
        ),
        _ => None,
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut tally = Tally::default();
    while let Some(length) = read_length(&mut stream).map_err(SinkError::Connection)? {
        let answer = match receive(&mut stream, length, &mut buffer, writer.as_mut()) {
            Ok(()) => STORED,
            Err(SinkError::Write { source, .. }) => return Err(refuse(&mut stream, args, source)),
            Err(error) => return Err(error),
        };
        stream.write_all(&[answer]).map_err(SinkError::Connection)?;
        tally.stored += 1;
        tally.stored_bytes += length;
    }
    Ok(tally)
}

/// Tells the sender that its frame is not stored, before the connection ends.
fn refuse(stream: &mut TcpStream, args: &RawSinkArgs, source: io::Error) -> SinkError {
    // The failure to write is what counts; that the sender may have left too changes nothing.
    let _ = stream.write_all(&[FAILED]);
    SinkError::Write { directory: args.dir.clone().unwrap_or_default(), source }
}

/// The next frame's length, or `None` when the sender has closed the connection between two frames.
fn read_length(stream: &mut impl Read) -> io::Result<Option<u64>> {
    let mut length = [0; 8];
    let [first, rest @ ..] = &mut length;
    if stream.read(std::slice::from_mut(first))? == 0 {
        return Ok(None);
    }
    stream.read_exact(rest)?;
    Ok(Some(u64::from_be_bytes(length)))
}

/// Reads a frame's `length` bytes, a buffer at a time, into the next file or nowhere.
fn receive(
    stream: &mut impl Read,
    length: u64,
    buffer: &mut [u8],
    writer: Option<&mut StudyWriter>,
) -> Result<(), SinkError> {
    let failed = |source| SinkError::Write { directory: PathBuf::new(), source };
    let mut file = writer.map(StudyWriter::begin).transpose().map_err(failed)?;
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..part) else {
            break;
        };
        stream.read_exact(part).map_err(SinkError::Connection)?;
        left -= part.len() as u64;
        if let Some(file) = &mut file {
            file.write_all(part).map_err(failed)?;
        }
    }
    file.map_or(Ok(()), |file| file.commit().map_err(failed))
}
