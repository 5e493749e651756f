use std::io::Write;

use super::*;

fn of(source: &str, class: Class, text: &str) -> Message {
    Message { source: source.to_owned(), class, text: text.to_owned() }
}

fn evidence(text: &str) -> Message {
    of("192.0.2.1", Class::Evidence, text)
}

fn all(spool: &mut Spool) -> Vec<String> {
    let mut messages = Vec::new();
    while spool.unsent_bytes() > 0 {
        while let Some(message) = spool.first().unwrap() {
            messages.push(message);
            spool.sent();
        }
        spool.clear().unwrap();
    }
    messages
}

/// Names of the files with messages.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().parse::<u64>().is_ok()).count()
}

#[test]
fn messages_outlive_the_process_in_order_until_they_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let mut spool = Spool::open(&path).unwrap();
    let long = "ä b ".repeat(10_000);
    assert!(spool.append(&[evidence("one"), evidence(&long)]).unwrap().is_empty());
    assert_eq!(spool.first().unwrap().as_deref(), Some("one"));
    spool.sent();
    drop(spool); // a kill: nobody knows which messages are sent
    let last = path.join("1");
    OpenOptions::new().append(true).open(&last).unwrap().write_all(b"cut of").unwrap();
    let mut spool = Spool::open(&path).unwrap();
    spool.append(&[evidence("three")]).unwrap();
    for message in ["one", &long, "three"] {
        assert_eq!(spool.first().unwrap().as_deref(), Some(message));
        spool.clear().unwrap();
        spool.sent();
    }
    assert_eq!((spool.first().unwrap(), spool.unsent_bytes()), (None, 0));
    spool.clear().unwrap();
    assert_eq!(fs::metadata(&last).unwrap().len(), 0);
}

#[test]
fn segments_go_when_they_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path()).unwrap();
    spool.max_bytes = 64 * 100;
    let texts: Vec<_> = (0..60).map(|number| number.to_string()).collect();
    texts.iter().for_each(|text| drop(spool.append(&[evidence(text)]).unwrap()));
    assert!(files(directory.path()) > 4);
    assert_eq!(all(&mut spool), texts);
    assert_eq!(files(directory.path()), 1);
}

#[test]
fn who_sends_the_most_gives_way_and_who_sends_little_loses_nothing_across_kills() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path()).unwrap();
    let (mut gave_way, mut lost) = (GaveWay::new(), 0);
    let mut small = Vec::new();
    for round in 0..300 {
        if round % 100 == 77 {
            drop(spool); // a kill
            spool = Spool::open(directory.path()).unwrap();
        }
        spool.max_bytes = 16 << 10;
        let mut messages: Vec<_> = (0..3)
            .flat_map(|source| {
                let source = format!("192.0.2.{source}");
                [Class::Evidence, Class::Contact]
                    .map(|class| of(&source, class, &format!("{round} {}", "x".repeat(200))))
            })
            .collect();
        if round % 50 == 0 {
            let source = format!("2001:db8:0:{round:x}::/64");
            small.push(format!("small {round}"));
            messages.push(of(&source, Class::Evidence, small.last().unwrap()));
        }
        for (source, count) in spool.append(&messages).unwrap() {
            assert!(source.starts_with("192."), "{source}");
            *gave_way.entry(source).or_default() += count;
            lost += count;
        }
        assert!(spool.unsent_bytes() <= 20 << 10);
        assert!(files(directory.path()) <= MAX_OPEN_FILES as usize);
    }
    let kept = all(&mut spool);
    let of_small: Vec<_> = kept.iter().filter(|message| message.starts_with("small")).cloned().collect();
    assert_eq!(of_small, small);
    assert_eq!(kept.len() as u64 + lost, 300 * 6 + small.len() as u64, "each is kept or counted");
    assert!(gave_way.values().max().unwrap() - gave_way.values().min().unwrap() < 50, "{gave_way:?}");
    let numbers: Vec<u32> = kept.iter().filter_map(|message| message.split(' ').next()?.parse().ok()).collect();
    assert!(numbers[1..].is_sorted() && *numbers.last().unwrap() == 299, "the oldest gave way");
}

#[test]
fn neither_class_takes_the_room_of_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(directory.path()).unwrap();
    spool.max_bytes = 64 << 10;
    let strangers: Vec<_> = (0..100).map(|number| of(&format!("192.0.2.{number}"), Class::Contact, "s")).collect();
    (0..100).for_each(|_| drop(spool.append(&strangers).unwrap()));
    assert!(spool.append(&[of("node", Class::Evidence, &"e".repeat(40 << 10))]).unwrap().is_empty());
    assert!(spool.append(&strangers).unwrap().keys().all(|source| source.starts_with("192.0.2.")));
    let kept = all(&mut spool);
    assert!(kept.iter().any(|message| message.starts_with('e')));
    assert!(kept.iter().filter(|message| *message == "s").count() > 100);
}

#[test]
fn a_spool_has_one_writer_and_is_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let first = Spool::open(&path).unwrap();
    assert_eq!(Spool::open(&path).err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(first);
    Spool::open(&path).unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    Spool::open(&link).err().unwrap();
    fs::remove_file(path.join("1")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), path.join("1")).unwrap();
    Spool::open(&path).err().unwrap();
}
