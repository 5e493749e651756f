//! `tidegate reconcile --destination`: what was delivered to a destination against what it says that it has.
//!
//! It is asked study by study: for its series, and for the instances of each (PS3.4 §C.4.1.2.1, a hierarchical search). A study is compared in pages
//! of what was delivered, so that its size bounds no memory; a destination with more than a page of them is asked again for each page.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tidegate_actors::DestinationKind;
use tidegate_actors::delivery::inquiry::{Failed, Inquiry, NotAnswered};
use tidegate_catalogue::{Error, HadStudy, PackedUid, Reader, State};
use tidegate_protocol::query::{Match, Query};
use tidegate_protocol::syntaxes::is_uid;

use super::source;
use super::work::ProgressLine;
use crate::cli::reach::Reach;
use crate::cli::table::wrapped;
use crate::cli::text::{count, safe};
use crate::cli::{Exit, output};

/// Studies that are read at a time.
const STUDIES: u32 = 1000;
/// Instances of a study that are compared at a time.
const PAGE: u32 = 50_000;
/// Series of a study, and matches of a question, at most. A destination that gives more is taken to give them without end.
const MAX_SERIES: u64 = 50_000;
const MAX_MATCHES: u64 = 1_000_000;
/// Differences of each kind that JSON names. All of them are counted, and the text names all.
const MAX_NAMED: u64 = 100;

/// What was found.
#[derive(Default, Serialize)]
struct Comparison {
    destination: String,
    /// Differences of all kinds.
    differences: u64,
    /// Studies that were asked for.
    studies: u64,
    /// Instances that were delivered, as far as they were asked for.
    instances: u64,
    /// Those that the destination does not have.
    missing: u64,
    /// Instances that the destination has in these studies, and that the catalogue does not know.
    unknown: u64,
    /// Studies that cannot be asked for.
    not_askable: u64,
    /// Studies for which the destination gave no whole answer.
    unanswered: u64,
    /// Matches of other studies or series than were asked for, or without a UID.
    ignored: u64,
    /// The first differences of each kind.
    named: Vec<Difference>,
    /// Why the destination was asked no more.
    failed: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Missing,
    Unknown,
    NotAskable,
    Unanswered,
}

#[derive(Serialize)]
struct Difference {
    kind: Kind,
    study_instance_uid: String,
    sop_instance_uid: Option<String>,
    /// What the catalogue has of its file.
    file: Option<&'static str>,
    /// Why there is no answer.
    why: Option<String>,
}

/// Why the comparison ends early.
enum Ended {
    /// With that exit code; everything is said.
    Exit(Exit),
    Destination(NotAnswered),
    Catalogue(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Catalogue(error)
    }
}

impl From<NotAnswered> for Ended {
    fn from(error: NotAnswered) -> Self {
        Self::Destination(error)
    }
}

/// Compares. The error is an exit code, and is printed.
pub(super) fn reconcile(reach: &Reach, name: &str, study: Option<&str>, json: bool) -> Result<Exit, Exit> {
    let failed = |why: &str| {
        output::complain(why);
        Exit::Failed
    };
    let settings = reach.settings()?;
    let Some(catalogue) = &settings.catalogue else {
        return Err(failed("the catalogue is off: set [catalogue] path = \"auto\""));
    };
    let delivery = &settings.live.delivery;
    let Some(destination) = delivery.destination(name) else {
        let names: Vec<&str> = delivery.destinations.iter().map(|destination| &*destination.name).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        output::complain(&format!("no destination of that name: {name} (configured: {known}); give --config"));
        return Err(Exit::Misused);
    };
    let DestinationKind::Dicom(peer) = &destination.kind;
    let reader = source::reader(&settings.storage.root, catalogue);
    let reader = reader.map_err(|error| failed(&output::one_line(&error)))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&format!("no runtime: {error}")))?;
    let found = Comparison { destination: name.to_owned(), ..Comparison::default() };
    let mut comparing = Comparing { reader, found, json, line: ProgressLine::new(), stopped: None };
    let ended = runtime.block_on(async {
        let mut inquiry = Inquiry::open(peer, delivery.tls.clone()).await?;
        comparing.all(&mut inquiry, name, study).await?;
        inquiry.close().await;
        Ok(())
    });
    comparing.end(ended, study)
}

struct Comparing {
    reader: Reader,
    found: Comparison,
    json: bool,
    line: ProgressLine,
    /// Nobody reads what is printed any more.
    stopped: Option<Exit>,
}

/// A page of a study: what was delivered, and whether the destination has it.
type Page = BTreeMap<PackedUid, (State, bool)>;

impl Comparing {
    async fn all(&mut self, inquiry: &mut Inquiry, name: &str, only: Option<&str>) -> Result<(), Ended> {
        let Some(row) = self.reader.destination(name)? else { return Ok(()) };
        let mut after = 0;
        loop {
            let studies = self.reader.studies_had(row.id, only, after, STUDIES)?;
            let Some(last) = studies.last() else { return Ok(()) };
            after = last.id;
            for study in &studies {
                self.found.studies += 1;
                let told = format!("{} studies asked for, {} missing", self.found.studies, self.found.missing);
                self.line.say(told);
                if !is_uid(&study.uid) {
                    self.found.not_askable += 1;
                    self.name(Kind::NotAskable, study, None, None, Some("its UID is none"));
                } else if let Err(failed) = self.study(inquiry, row.id, study).await? {
                    let Failed { status, comment } = failed;
                    self.found.unanswered += 1;
                    let why = format!("status {status:04X} {comment}");
                    self.name(Kind::Unanswered, study, None, None, Some(why.trim_end()));
                }
                if let Some(exit) = self.stopped {
                    return Err(Ended::Exit(exit));
                }
            }
        }
    }

    async fn study(
        &mut self,
        inquiry: &mut Inquiry,
        destination: i64,
        study: &HadStudy,
    ) -> Result<Result<(), Failed>, Ended> {
        let (mut series, mut ignored) = (BTreeSet::new(), 0);
        let answer = inquiry.ask(Query::Series { study: &study.uid }, MAX_SERIES, |found| match found {
            Match { study: of, series: Some(uid), .. } if is_as_asked(of.as_deref(), &study.uid) => {
                series.insert(uid);
            }
            _ => ignored += 1,
        });
        if let Err(failed) = answer.await? {
            return Ok(Err(failed));
        }
        self.found.ignored += ignored;
        let (mut after, mut is_first) = (None, true);
        loop {
            let had = self.reader.instances_had(destination, study.id, after.as_ref(), PAGE)?;
            let is_last = had.len() < PAGE as usize;
            let mut page: Page = had.into_iter().map(|had| (had.uid, (had.state, false))).collect();
            after = page.last_key_value().map(|(uid, _)| uid.clone());
            for uid in &series {
                if let Err(failed) = self.series(inquiry, (study, uid), &mut page, is_first).await? {
                    return Ok(Err(failed));
                }
            }
            self.found.instances += page.len() as u64;
            for (uid, (state, _)) in page.iter().filter(|(_, (_, has_come))| !has_come) {
                self.found.missing += 1;
                self.name(Kind::Missing, study, Some(uid), Some(*state), None);
            }
            if is_last {
                return Ok(Ok(()));
            }
            is_first = false;
        }
    }

    /// Ticks off what the destination has of a series. In the first round, it names what is not known here.
    async fn series(
        &mut self,
        inquiry: &mut Inquiry,
        (study, series): (&HadStudy, &str),
        page: &mut Page,
        is_first: bool,
    ) -> Result<Result<(), Failed>, Ended> {
        let query = Query::Images { study: &study.uid, series };
        let (mut unknown, mut trouble) = (BTreeSet::new(), None);
        let answer = inquiry.ask(query, MAX_MATCHES, |found| {
            let is_its =
                is_as_asked(found.study.as_deref(), &study.uid) && is_as_asked(found.series.as_deref(), series);
            let uid = found.instance.filter(|_| is_its).and_then(|uid| uid.parse::<PackedUid>().ok());
            match uid {
                None => self.found.ignored += u64::from(is_first),
                Some(uid) => match page.get_mut(&uid) {
                    Some((_, has_come)) => *has_come = true,
                    None if !is_first || unknown.contains(&uid) || trouble.is_some() => {}
                    None => match self.reader.knows(&uid) {
                        Ok(true) => {}
                        Ok(false) => {
                            self.found.unknown += 1;
                            self.name(Kind::Unknown, study, Some(&uid), None, None);
                            // One that is given again and again is counted once, up to a bound.
                            if unknown.len() < PAGE as usize {
                                unknown.insert(uid);
                            }
                        }
                        Err(error) => trouble = Some(error),
                    },
                },
            }
        });
        let answer = answer.await?;
        match trouble {
            Some(error) => Err(error.into()),
            None => Ok(answer),
        }
    }

    fn name(
        &mut self,
        kind: Kind,
        study: &HadStudy,
        instance: Option<&PackedUid>,
        file: Option<State>,
        why: Option<&str>,
    ) {
        let found = &self.found;
        let file = file.map(|state| match state {
            State::Present => "present",
            State::Gone => "gone",
            State::Released => "released",
        });
        let (number, text) = match kind {
            Kind::Missing => (found.missing, "missing there".to_owned()),
            Kind::Unknown => (found.unknown, "not known here".to_owned()),
            Kind::NotAskable => (found.not_askable, "cannot be asked for".to_owned()),
            Kind::Unanswered => (found.unanswered, "not answered".to_owned()),
        };
        if self.json {
            if number <= MAX_NAMED {
                self.found.named.push(Difference {
                    kind,
                    study_instance_uid: study.uid.clone(),
                    sop_instance_uid: instance.map(ToString::to_string),
                    file,
                    why: why.map(str::to_owned),
                });
            }
            return;
        }
        let uid = instance.map_or_else(|| format!("study {}", safe(&study.uid)), |uid| safe(&uid.to_string()));
        let of = instance.map(|_| format!(", study {}", safe(&study.uid))).unwrap_or_default();
        let file = file.filter(|file| *file != "present").map(|file| format!(" ({file} here)")).unwrap_or_default();
        let why = why.map(|why| format!(": {}", safe(why))).unwrap_or_default();
        let line = format!("{uid}: {text}{file}{of}{why}\n");
        if self.stopped.is_none() {
            self.stopped = self.line.print(&line).err();
        }
    }

    /// Says what was found, and gives the exit code.
    fn end(mut self, ended: Result<(), Ended>, study: Option<&str>) -> Result<Exit, Exit> {
        drop(self.line);
        let found = &mut self.found;
        match ended {
            Ok(()) => {}
            Err(Ended::Exit(exit)) => return Err(exit),
            Err(Ended::Catalogue(error)) => {
                output::complain(&output::one_line(&error));
                return Err(Exit::Failed);
            }
            Err(Ended::Destination(error)) => found.failed = Some(error.to_string()),
        }
        found.differences = found.missing + found.unknown + found.not_askable;
        let printed = output::show(self.json, &*found, summary);
        if let Some(why) = &found.failed {
            output::complain(&format!("{} does not answer what it is asked: {why}", found.destination));
        }
        let is_whole = found.failed.is_none() && found.unanswered == 0;
        if let Some(study) = study.filter(|_| is_whole && found.studies == 0) {
            output::complain(&format!("nothing of the study {study} was delivered to {}", found.destination));
            return Ok(Exit::Failed);
        }
        Ok(match (is_whole, found.differences) {
            (false, _) => Exit::NotTold,
            (true, 0) => printed,
            (true, _) => Exit::Failed,
        })
    }
}

/// Whether a match is of what was asked for. Some peers leave out what they were asked with.
fn is_as_asked(found: Option<&str>, asked: &str) -> bool {
    found.is_none_or(|found| found == asked)
}

fn summary(found: &Comparison, width: usize) -> String {
    let Comparison { destination, studies, instances, missing, unknown, not_askable, unanswered, ignored, .. } = found;
    let studies = if *studies == 1 { "1 study".to_owned() } else { format!("{studies} studies") };
    let mut line = format!(
        "{}: {studies}, {} delivered, {missing} missing there, {unknown} not known here",
        safe(destination),
        count(*instances, "instance"),
    );
    for (number, what) in [
        (not_askable, "studies cannot be asked for"),
        (unanswered, "studies not answered"),
        (ignored, "matches ignored: they are of something else"),
    ] {
        if *number > 0 {
            line += &format!(", {number} {what}");
        }
    }
    let mut out = wrapped("", &line, width);
    if *missing > 0 {
        let name = safe(destination);
        out += &wrapped("", "To deliver what is missing again, if its file is here:", width);
        out += &format!("  tidegate outbox add --destination {name} --instance UID\n");
    }
    out
}
