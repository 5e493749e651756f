//! The limit that a receiver is held against: the same connections, bytes, files and syncs, and no DICOM.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;
use thiserror::Error;

use crate::commit::{Mode, StudyWriter, Workdir};
use crate::discard;
use crate::generate::{Encoding, MAX_NATIVE_BYTES, ct_image};
use crate::raw::{FAILED, STORED};
use crate::report::{Report, Tally};
use crate::tls::{TlsError, TlsServer};
use crate::usage::Usage;

/// Bytes read and written at a time, and the whole of what a connection holds.
const BUFFER_BYTES: usize = 1 << 20;

/// What is written, and where the bytes come from.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Directory to write under; made when it is missing
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// What is synced before a file is acknowledged
    #[arg(long, value_enum, default_value = "per-file")]
    mode: Mode,
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
    /// Connections to serve before the limit reports and ends
    #[arg(long, default_value_t = 8, requires = "listen", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Serve TLS with the certificate chain and the key of these PEM files
    #[arg(long, num_args = 2, value_names = ["CERTIFICATE", "KEY"], requires = "listen", conflicts_with = "dicom")]
    tls: Vec<PathBuf>,
    /// Speak DICOM and keep nothing: accept every association and answer every C-STORE with success
    #[arg(long, requires = "listen", conflicts_with = "mode")]
    dicom: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Why the limit could not run.
#[derive(Debug, Error)]
pub(crate) enum LimitError {
    #[error("--size is {0}: more than one dataset's pixel data can hold")]
    SizeTooLarge(ByteSize),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot accept a connection")]
    Accept(#[source] io::Error),
    #[error("cannot write under {directory}")]
    Write { directory: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("a connection failed")]
    Connection(#[source] io::Error),
    #[error("a thread ended by a panic")]
    Panicked,
}

impl LimitArgs {
    /// What it means that writing has failed.
    fn failed(&self) -> impl Fn(io::Error) -> LimitError + '_ {
        |source| LimitError::Write { directory: self.dir.clone(), source }
    }
}

/// Writes everything and prints the result.
///
/// # Errors
/// The first of any thread or connection.
pub(crate) fn run(args: &LimitArgs) -> Result<bool, LimitError> {
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
fn write_files(args: &LimitArgs) -> Result<Measured, LimitError> {
    if args.size.as_u64() > MAX_NATIVE_BYTES {
        return Err(LimitError::SizeTooLarge(args.size));
    }
    let dataset = ct_image(args.size.as_u64(), Encoding::Explicit, 1).to_bytes();
    let (files, threads) = (args.files.unwrap_or_default(), u64::from(args.threads));
    let workdir = Workdir::new(&args.dir, args.mode).map_err(args.failed())?;
    let (started, before) = (Instant::now(), Usage::now());
    let tallies = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|number| {
                let share = files / threads + u64::from(number < files % threads);
                let (dataset, workdir) = (&dataset, &workdir);
                scope.spawn(move || write_share(workdir, number as usize, share, dataset).map_err(args.failed()))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| LimitError::Panicked)?).collect::<Result<_, _>>()
    })?;
    Ok((started.elapsed(), tallies, before))
}

fn write_share(workdir: &Workdir, number: usize, share: u64, bytes: &[u8]) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut writer = StudyWriter::new(workdir, number)?;
    for _ in 0..share {
        let begun = Instant::now();
        let mut file = writer.begin()?;
        file.write_all(bytes)?;
        file.log(bytes)?;
        file.commit()?;
        tally.latencies.push(begun.elapsed());
        tally.stored += 1;
        tally.stored_bytes += bytes.len() as u64;
    }
    Ok(tally)
}

/// Serves `--connections` connections; the clock runs from the first of them to the end of the last.
fn serve(args: &LimitArgs, address: SocketAddr) -> Result<Measured, LimitError> {
    let keeps = !args.dicom && args.mode != Mode::Discard;
    let workdir = keeps.then(|| Workdir::new(&args.dir, args.mode)).transpose().map_err(args.failed())?;
    let tls = match args.tls.as_slice() {
        [certificate, key] => Some(TlsServer::new(certificate, key)?),
        _ => None,
    };
    let failed = |source| LimitError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    println!("limit listening on {}", listener.local_addr().map_err(failed)?);
    let (mut started, mut before) = (Instant::now(), Usage::now());
    let tallies = thread::scope(|scope| {
        let mut running = Vec::new();
        for number in 0..args.connections as usize {
            let (stream, _) = listener.accept().map_err(LimitError::Accept)?;
            if number == 0 {
                (started, before) = (Instant::now(), Usage::now());
            }
            let (workdir, tls) = (workdir.as_ref(), tls.as_ref());
            running.push(scope.spawn(move || serve_connection(args, workdir, tls, number, stream)));
        }
        running.into_iter().map(|thread| thread.join().map_err(|_| LimitError::Panicked)?).collect::<Result<_, _>>()
    })?;
    Ok((started.elapsed(), tallies, before))
}

fn serve_connection(
    args: &LimitArgs,
    workdir: Option<&Workdir>,
    tls: Option<&TlsServer>,
    number: usize,
    stream: TcpStream,
) -> Result<Tally, LimitError> {
    stream.set_nodelay(true).map_err(LimitError::Connection)?;
    match tls {
        _ if args.dicom => discard::serve(stream).map_err(LimitError::Connection),
        Some(tls) => serve_frames(args, workdir, number, tls.stream(stream).map_err(LimitError::Connection)?),
        None => serve_frames(args, workdir, number, stream),
    }
}

fn serve_frames(
    args: &LimitArgs,
    workdir: Option<&Workdir>,
    number: usize,
    mut stream: impl Read + Write,
) -> Result<Tally, LimitError> {
    let mut writer = workdir.map(|workdir| StudyWriter::new(workdir, number)).transpose().map_err(args.failed())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut tally = Tally::default();
    while let Some(length) = read_length(&mut stream).map_err(LimitError::Connection)? {
        match receive(&mut stream, length, &mut buffer, writer.as_mut()) {
            Ok(()) => stream.write_all(&[STORED]).and_then(|()| stream.flush()).map_err(LimitError::Connection)?,
            Err(Failed::Reading(error)) => return Err(LimitError::Connection(error)),
            Err(Failed::Writing(error)) => {
                // The failure to write is what counts; that the sender may have left too changes nothing.
                let _ = stream.write_all(&[FAILED]);
                return Err(args.failed()(error));
            }
        }
        tally.stored += 1;
        tally.stored_bytes += length;
    }
    Ok(tally)
}

/// The next frame's length, or `None` when the sender has closed the connection between two frames.
fn read_length(stream: &mut impl Read) -> io::Result<Option<u64>> {
    let mut length = [0; 8];
    let [first, rest @ ..] = &mut length;
    match stream.read(std::slice::from_mut(first)) {
        Ok(0) => return Ok(None),
        // TLS without its closing alert: the sender's end all the same.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    stream.read_exact(rest)?;
    Ok(Some(u64::from_be_bytes(length)))
}

/// What a frame was lost by.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

/// Reads a frame's `length` bytes, a buffer at a time, into the next file or nowhere.
fn receive(
    stream: &mut impl Read,
    length: u64,
    buffer: &mut [u8],
    writer: Option<&mut StudyWriter<'_>>,
) -> Result<(), Failed> {
    let mut file = writer.map(StudyWriter::begin).transpose().map_err(Failed::Writing)?;
    let mut left = length;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(part) = buffer.get_mut(..part) else {
            break;
        };
        stream.read_exact(part).map_err(Failed::Reading)?;
        left -= part.len() as u64;
        let Some(file) = &mut file else {
            continue;
        };
        file.write_all(part).map_err(Failed::Writing)?;
        if part.len() as u64 == length {
            file.log(part).map_err(Failed::Writing)?;
        }
    }
    file.map_or(Ok(()), |file| file.commit().map_err(Failed::Writing))
}
