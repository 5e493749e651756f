use std::time::Duration;

use tempfile::TempDir;
use tidegate_commitment::{Asked, Attempt, FailureReason, Outcome, Peer, Reader, Reference, Requests};

use super::text;
use crate::admin::commitment::look;
use crate::admin::commitment::model::{CommitmentDetail, Commitments};
use crate::admin::commitment::search::CommitmentSearch;
use crate::cli::table::COLUMNS;
use crate::cli::table_tests::{ADDRESS, titles, uid};

/// When the file was made: the first request has the number behind it.
const MADE_MS: i64 = 1_764_444_800_000;
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// A record, and its requests in the order of their numbers.
struct Record {
    directory: TempDir,
    requests: Requests,
    ids: Vec<i64>,
}

impl Record {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = directory.path().join("commitments.sqlite");
        let requests = Requests::open(&path, Duration::from_secs(86_400), MADE_MS).unwrap();
        Self { directory, requests, ids: Vec::new() }
    }

    /// A request of `calling` for these instances.
    fn asks(&mut self, calling: &str, address: &str, transaction: &str, instances: &[String]) -> i64 {
        let asked = Asked {
            transaction_uid: transaction.to_owned(),
            peer: Peer { calling: calling.to_owned(), address: address.to_owned() },
            called: "TIDEGATE".to_owned(),
            association: 7,
        };
        let references = instances
            .iter()
            .map(|uid| Reference { sop_class: CT.parse().unwrap(), sop_instance: uid.parse().unwrap() });
        let id = self.requests.accept(&asked, references.collect::<Vec<_>>().into_iter(), MADE_MS).unwrap();
        self.ids.push(id);
        id
    }

    /// Evaluates it: so many of its first instances are not stored.
    fn evaluated(&mut self, id: i64, missing: u32) {
        let instances = self.requests.request(id).unwrap().unwrap().instances;
        let outcome = |at| {
            if at < missing { Outcome::Failed(FailureReason::NoSuchObjectInstance) } else { Outcome::Committed }
        };
        let outcomes: Vec<_> = (0..instances).map(|at| (at, outcome(at))).collect();
        self.requests.record_outcomes(id, &outcomes).unwrap();
        self.requests.conclude(id, MADE_MS + 1000).unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.directory.path().join("commitments.sqlite")).unwrap()
    }

    fn page(&self, search: &CommitmentSearch) -> Commitments {
        look::page(&mut self.reader(), search).unwrap()
    }

    fn one(&self, id: i64) -> CommitmentDetail {
        look::one(&mut self.reader(), id).unwrap().unwrap()
    }
}

fn instances(count: u64) -> Vec<String> {
    (0..count).map(|number| format!("1.2.3.{number}")).collect()
}

/// One that is reported, one whose modality is off, and one that has just come in.
fn three() -> Record {
    let mut record = Record::new();
    let [reported, failing, _] =
        ["1.9.1", "1.9.2", "1.9.3"].map(|uid| record.asks("CT1", "10.1.2.3", uid, &instances(3)));
    record.evaluated(reported, 0);
    record.requests.record_attempt(reported, Attempt::Reported, MADE_MS + 2000).unwrap();
    record.evaluated(failing, 2);
    let why = "cannot connect to 10.1.2.3:104: connection refused";
    record.requests.record_attempt(failing, Attempt::Failed { status: None, why }, MADE_MS + 3000).unwrap();
    record
}

#[test]
fn a_request_is_two_lines_and_one_that_is_not_reported_says_why() {
    let record = three();
    let found = record.page(&CommitmentSearch::default());
    let next = found.commitments[1].next_attempt.clone().unwrap();
    let next = next[..19].replace('T', " ");
    let expected = format!(
        "\
ID             ASKED             CALLING  STATE      COMMITTED
{}  2025-11-29 19:33  CT1      received      - of 3
  1.9.3
  no attempt yet, next at 2025-11-29 19:33:20
{}  2025-11-29 19:33  CT1      evaluated     1 of 3
  1.9.2
  1 attempt, next at {next}: cannot connect to 10.1.2.3:104:
  connection refused
{}  2025-11-29 19:33  CT1      reported      3 of 3
  1.9.1
",
        record.ids[2], record.ids[1], record.ids[0]
    );
    assert_eq!(text::commitments(&found, COLUMNS), expected);
}

#[test]
fn one_request_names_what_is_not_committed() {
    let record = three();
    let expected = format!(
        "\
request       {}
state         reported
asked         2025-11-29 19:33:20
from          CT1 at 10.1.2.3, association 7
called        TIDEGATE
transaction   1.9.1
instances     3 instances, 3 committed, 0 not, as of 2025-11-29 19:33:21
report        taken at 2025-11-29 19:33:22
",
        record.ids[0]
    );
    assert_eq!(text::commitment(&record.one(record.ids[0]), COLUMNS), expected);
    let failing = text::commitment(&record.one(record.ids[1]), COLUMNS);
    let named = "
1.2.3.0
  0112 no such object instance, asked for as 1.2.840.10008.5.1.4.1.1.2

1.2.3.1
  0112 no such object instance, asked for as 1.2.840.10008.5.1.4.1.1.2
";
    assert!(failing.ends_with(named), "{failing}");
}

#[test]
fn pages_follow_each_other_and_a_condition_that_is_none_is_refused() {
    let mut record = Record::new();
    for number in 0..5 {
        record.asks("CT1", "10.1.2.3", &format!("1.9.{number}"), &instances(1));
    }
    let mut seen = Vec::new();
    let mut search = CommitmentSearch { limit: Some(2), ..CommitmentSearch::default() };
    loop {
        let page = record.page(&search);
        seen.extend(page.commitments.iter().map(|request| request.id));
        search.after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    record.ids.reverse();
    assert_eq!(seen, record.ids);
    let pending = CommitmentSearch { state: Some("pending".to_owned()), ..CommitmentSearch::default() };
    assert_eq!(record.page(&pending).commitments.len(), 5);
    for state in ["given_up", "failed"] {
        let given_up = CommitmentSearch { state: Some(state.to_owned()), ..CommitmentSearch::default() };
        assert!(record.page(&given_up).commitments.is_empty());
    }
    let of = |calling: &str| CommitmentSearch { calling: Some(calling.to_owned()), ..CommitmentSearch::default() };
    assert_eq!((record.page(&of("CT1")).commitments.len(), record.page(&of("CT2")).commitments.len()), (5, 0));
    for wrong in [
        CommitmentSearch { state: Some("lost".to_owned()), ..CommitmentSearch::default() },
        CommitmentSearch { limit: Some(0), ..CommitmentSearch::default() },
        CommitmentSearch { limit: Some(501), ..CommitmentSearch::default() },
    ] {
        assert!(look::page(&mut record.reader(), &wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn of_many_instances_the_first_thousand_are_named_and_the_rest_counted() {
    let mut record = Record::new();
    let id = record.asks("CT1", "10.1.2.3", "1.9", &instances(6000));
    record.evaluated(id, 5500);
    let found = record.one(id);
    assert_eq!((found.commitment.not_committed, found.not_committed.len()), (5500, 1000));
    assert!(text::commitment(&found, COLUMNS).ends_with("and 5400 more that are not committed\n"));
}

/// Every text, with the longest values.
pub(in crate::cli) fn widest() -> String {
    let mut record = Record::new();
    let long: Vec<_> = (0..150).map(uid).collect();
    for (number, title) in (0..).zip(titles()) {
        let id = record.asks(&title, ADDRESS, &uid(number), &long);
        record.evaluated(id, 120);
        let why =
            "the association was rejected: the calling AE title is not recognised by the modality at that address";
        record.requests.record_attempt(id, Attempt::Failed { status: Some(0x0110), why }, MADE_MS).unwrap();
    }
    let ones = record.ids.iter().map(|id| text::commitment(&record.one(*id), COLUMNS));
    text::commitments(&record.page(&CommitmentSearch::default()), COLUMNS) + &ones.collect::<String>()
}
