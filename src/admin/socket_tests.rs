use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use tidegate_memory::profile::HeapStacks;
use tidegate_memory::{AllocatorStatistics, Level, MemoryBudget, MemorySnapshot};

use super::super::wire::Purged;
use super::*;

fn snapshot(budget: &MemoryBudget) -> MemorySnapshot {
    MemorySnapshot {
        taken_unix_ms: 7,
        budget_bytes: budget.limit(),
        held_bytes: budget.held(),
        unused_bytes: budget.unused(),
        highest_bytes: budget.highest(),
        allocator: AllocatorStatistics::default(),
        baseline_bytes: 0,
        unattributed_bytes: 5,
        pressure: Level::Normal,
        stages: Vec::new(),
        holders: Vec::new(),
    }
}

/// Runs `client` on a thread against a socket that is served meanwhile.
async fn with_socket<T: Send + 'static>(path: &Path, client: impl FnOnce() -> T + Send + 'static) -> T {
    let budget = MemoryBudget::new(1 << 20);
    let account = Arc::new(budget.open_account("admin socket"));
    let watched = budget.clone();
    let socket = Arc::new(AdminSocket::bind(path).unwrap());
    let serving = actix_rt::spawn(socket.serve(move |_, _| Answer::Memory(Box::new(snapshot(&watched))), account));
    let result = spawn_blocking(client).await.unwrap();
    serving.abort();
    let _ = serving.await;
    assert!(!path.exists(), "the socket's file is left");
    assert_eq!(budget.held(), 0, "a conversation's lease is left");
    result
}

fn say(path: &Path, request: &[u8]) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let _ = stream.write_all(request); // the node may have closed before it took all of it
    BufReader::new(stream)
}

fn answer_line(reader: &mut impl BufRead) -> Response {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// The answer to a request line, which is also the end of the conversation.
fn ask(path: &Path, request: &str) -> Answer {
    let mut reader = say(path, format!("{request}\n").as_bytes());
    let response = answer_line(&mut reader);
    assert_eq!((response.version, response.tidegate.as_str()), (VERSION, env!("CARGO_PKG_VERSION")));
    assert!(reader.fill_buf().is_ok_and(<[u8]>::is_empty), "something follows");
    response.answer
}

fn refusal(answer: Answer) -> String {
    match answer {
        Answer::Refused(why) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[actix_rt::test]
async fn a_snapshot_is_told_as_it_is_and_costs_a_lease_while_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let asked = path.clone();
    let answer = with_socket(&path, move || ask(&asked, r#"{"version":1,"ask":"memory"}"#)).await;
    let Answer::Memory(told) = answer else { panic!("{answer:?}") };
    assert_eq!((told.taken_unix_ms, told.unattributed_bytes), (7, 5));
    assert_eq!(told.held_bytes, MAX_REQUEST_BYTES, "the conversation itself");
}

#[actix_rt::test]
async fn a_purge_answers_with_both_figures() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let asked = path.clone();
    let answer = with_socket(&path, move || ask(&asked, r#"{"version":1,"ask":"purge"}"#)).await;
    let Answer::Purge(Purged { before, after }) = answer else { panic!("{answer:?}") };
    assert!(before.allocated > 0 && after.allocated > 0);
}

#[actix_rt::test]
async fn what_is_no_request_is_refused_and_the_next_one_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let asked = path.clone();
    with_socket(&path, move || {
        for (request, why) in [
            ("GET / HTTP/1.1", "not a request: "),
            (r#"{"version":1,"ask":"shutdown"}"#, "not a request: unknown variant `shutdown`"),
            (r#"{"version":1}"#, "not a request: missing field `ask`"),
            (r#"{"version":9,"ask":{"tea":1}}"#, "version 9 is not spoken here, but 1"),
            (r#"{"version":1,"ask":{"profile":{"seconds":0}}}"#, "a profile takes 1 to 600 seconds"),
            (r#"{"version":1,"ask":{"profile":{"seconds":601}}}"#, "a profile takes 1 to 600 seconds"),
        ] {
            let told = refusal(ask(&asked, request));
            assert!(told.starts_with(why), "{request}: {told}");
        }
        let endless = vec![b' '; MAX_REQUEST_BYTES as usize + 1];
        let told = refusal(answer_line(&mut say(&asked, &endless)).answer);
        assert_eq!(told, "a request has at most 4096 bytes");
        let longest = format!("{:<width$}", r#"{"version":1,"ask":"memory"}"#, width = MAX_REQUEST_BYTES as usize - 1);
        assert!(matches!(ask(&asked, &longest), Answer::Memory(_)));
    })
    .await;
}

#[actix_rt::test]
async fn a_client_that_leaves_or_says_half_a_line_keeps_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let asked = path.clone();
    with_socket(&path, move || {
        // More clients than may connect at one time, each gone without a request.
        for half in [&b""[..], b"{\"version\":1", b"", b"", b"x", b""] {
            let mut reader = say(&asked, half);
            reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"");
        }
        assert!(matches!(ask(&asked, r#"{"version":1,"ask":"memory"}"#), Answer::Memory(_)));
    })
    .await;
}

#[actix_rt::test]
async fn silent_clients_take_no_more_than_their_places_and_those_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let asked = path.clone();
    let held = with_socket(&path, move || {
        let silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| say(&asked, b"")).collect();
        // The fifth waits until one of them is disconnected.
        let answer = ask(&asked, r#"{"version":1,"ask":"memory"}"#);
        drop(silent);
        let Answer::Memory(told) = answer else { panic!("{answer:?}") };
        told.held_bytes
    })
    .await;
    assert!((MAX_REQUEST_BYTES..=MAX_REQUEST_BYTES * MAX_CONNECTIONS as u64).contains(&held), "{held}");
}

#[actix_rt::test]
async fn one_profile_at_a_time_and_none_for_who_has_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let asked = path.clone();
    let profile = |seconds| format!(r#"{{"version":1,"ask":{{"profile":{{"seconds":{seconds}}}}}}}"#);
    let (long, short) = (profile(600) + "\n", profile(1) + "\n");
    with_socket(&path, move || {
        let long = say(&asked, long.as_bytes());
        // The first recording is in progress when another is refused.
        while profiled(&asked, &short) != Err("a heap profile is already being recorded".to_owned()) {}
        drop(long);
        // After its end, another client can record.
        let bytes = loop {
            match profiled(&asked, &short) {
                Ok(bytes) => break bytes,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let stacks: HeapStacks = serde_json::from_slice(&bytes).unwrap();
        assert!(!stacks.stacks.is_empty());
    })
    .await;
}

/// Asks for a profile while memory is allocated and kept, so that there is something to see.
fn profiled(path: &Path, request: &str) -> Result<Vec<u8>, String> {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                if kept.len() < 64 {
                    kept.push(vec![1_u8; 1 << 20]);
                } else {
                    kept.clear();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let mut reader = say(path, request.as_bytes());
        let answer = answer_line(&mut reader).answer;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        match answer {
            Answer::Refused(why) => Err(why),
            Answer::Profile { bytes } => {
                let mut profile = Vec::new();
                reader.read_to_end(&mut profile).unwrap();
                assert_eq!(profile.len() as u64, bytes);
                Ok(profile)
            }
            other => panic!("{other:?}"),
        }
    })
}
