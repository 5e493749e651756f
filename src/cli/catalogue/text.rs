//! The answers as text that fits the terminal, but for paths, which are never cut. Values of a dataset do nothing to the terminal.

use std::collections::BTreeMap;

use super::whole;
use crate::admin::catalogue::instance::{Instance, InstanceDelivery, Instances, Presence};
use crate::admin::catalogue::model::{
    Arrival, CatalogueCondition, CatalogueState, InstanceNumbers, NamedDifference, Series, Studies, StudyDetail,
    WorkProgress,
};
use crate::admin::outbox::model::{DeliverySums, StudyProgress};
use crate::cli::look::TITLE_COLUMNS;
use crate::cli::table::{Table, labelled, wrapped};
use crate::cli::text::{age, count, cut, safe, second, size};

/// Ranges of missing numbers that are shown; JSON has more.
const MAX_RANGES: usize = 12;
/// Associations of one sender that are shown; JSON has more.
const MAX_ASSOCIATIONS: usize = 8;

/// Two lines a study: what people know it by, and its UID.
pub(super) fn studies(found: &Studies, width: usize) -> String {
    let mut table = Table::new(["LAST RECEIVED", "PATIENT ID", "NAME", "ACCESSION", "MODAL.", "FILES"]).left(5);
    for study in &found.studies {
        table.row([
            minute(&study.last_received),
            cell(&study.patient_id, 12),
            cell(&study.patient_name, 18),
            cell(&study.accession_number, 12),
            cut(&safe(&study.modalities.join(",")), 6),
            study.files.to_string(),
        ]);
        let not_there = [(study.gone, "gone"), (study.released, "released")];
        let not_there =
            not_there.iter().filter(|(files, _)| *files > 0).map(|(files, what)| format!("  {files} {what}"));
        table.line(format!("{}{}", uid(&study.study_instance_uid), not_there.collect::<String>()));
        if let Some(undelivered) = study.deliveries.and_then(undelivered) {
            table.line(undelivered);
        }
    }
    table.render(width)
}

/// A study, its series and its senders.
pub(super) fn study(found: &StudyDetail, width: usize) -> String {
    let mut out = headline(found, width);
    out.push_str(&directories(found));
    let mut table = Table::new(["SERIES", "MODALITY", "FILES", "SIZE", "NUMBERS", ""]).left(0);
    for series in &found.series {
        table.row([
            cut(&series.number.map_or_else(|| "-".to_owned(), |number| number.to_string()), 6),
            cell(&series.modality, 8),
            series.files.to_string(),
            size(series.bytes),
            cut(&range(&series.numbers), 16),
            cell(&series.description, 24),
        ]);
        table.line(uid(&series.series_instance_uid));
        remarks(series).into_iter().for_each(|remark| table.line(remark));
    }
    out.push('\n');
    out.push_str(&table.render(width));
    left_out(&mut out, found.study.series, found.series.len(), "series");
    out.push('\n');
    out.push_str(&senders(&found.arrivals, width));
    left_out(&mut out, found.arrivals_total, found.arrivals.len(), "associations");
    if !found.deliveries.is_empty() {
        out.push('\n');
    }
    found.deliveries.iter().for_each(|progress| out.push_str(&delivered(progress, width)));
    out
}

/// What of a study the destinations have not had; `None`: nothing.
fn undelivered(sums: DeliverySums) -> Option<String> {
    let DeliverySums { waiting, retrying, sent, dead, .. } = sums;
    let owed = numbers([(waiting, "waiting"), (retrying, "retrying"), (sent, "not committed there"), (dead, "DEAD")]);
    (!owed.is_empty()).then(|| format!("not delivered: {owed}"))
}

/// The numbers that are not 0, each with its word.
fn numbers<const N: usize>(parts: [(u64, &str); N]) -> String {
    let parts = parts.into_iter().filter(|(number, _)| *number > 0);
    parts.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
}

/// The progress to a destination.
fn delivered(progress: &StudyProgress, width: usize) -> String {
    let StudyProgress { destination, waiting, retrying, sent, dead, delivered } = progress;
    let owed = numbers([(*waiting, "waiting"), (*retrying, "retrying"), (*sent, "sent"), (*dead, "DEAD")]);
    let of =
        if owed.is_empty() { String::new() } else { format!(" of {}", delivered + waiting + retrying + sent + dead) };
    let text = [format!("{delivered}{of} delivered"), owed].into_iter().filter(|part| !part.is_empty());
    labelled("to", &format!("{}: {}", safe(destination), text.collect::<Vec<_>>().join(", ")), width)
}

fn headline(found: &StudyDetail, width: usize) -> String {
    let study = &found.study;
    let mut out = labelled("study", &uid(&study.study_instance_uid), width);
    let patient = [
        study.patient_id.as_deref().map(safe),
        study.patient_name.as_deref().map(safe),
        study.patient_birth_date.as_deref().map(|date| format!("born {}", day(date))),
    ];
    let patient: Vec<_> = patient.into_iter().flatten().collect();
    let stored = format!("{} series, {}, {}", study.series, count(study.files, "file"), size(study.bytes));
    let received = match (second(&study.first_received), second(&study.last_received)) {
        (first, last) if first == last => first,
        (first, last) => format!("{first} to {last}"),
    };
    let gone = format!(
        "{} that {} stored and {} not there any more",
        count(study.gone, "file"),
        were(study.gone),
        are(study.gone)
    );
    let released = format!("{} removed by this node, since delivered", count_are(study.released, "file"));
    let lines = [
        ("patient", patient.join(", ")),
        ("accession", study.accession_number.as_deref().map(safe).unwrap_or_default()),
        ("study date", study.study_date.as_deref().map(day).unwrap_or_default()),
        ("description", study.description.as_deref().map(safe).unwrap_or_default()),
        ("stored", stored),
        ("gone", if study.gone > 0 { gone } else { String::new() }),
        ("released", if study.released > 0 { released } else { String::new() }),
        ("received", received),
        ("state", whole::state(found)),
    ];
    for (label, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // A value of a dataset may be of any length, in one word.
        out.push_str(&cut(labelled(label, value, usize::MAX).trim_end(), width));
        out.push('\n');
    }
    out
}

/// Where its files are, a line each: they are copied from here.
fn directories(found: &StudyDetail) -> String {
    let mut out = String::new();
    for directory in &found.directories {
        let path = if directory.is_empty() { ".".to_owned() } else { safe(directory) };
        out.push_str(&labelled("directory", &path, usize::MAX));
    }
    left_out(&mut out, found.directories_total, found.directories.len(), "directories");
    out
}

fn range(numbers: &InstanceNumbers) -> String {
    match (numbers.lowest, numbers.highest) {
        (Some(lowest), Some(highest)) if lowest != highest => format!("{lowest}-{highest}"),
        (Some(only), _) => only.to_string(),
        (None, _) => "-".to_owned(),
    }
}

/// What is remarkable about a series, a line each.
fn remarks(series: &Series) -> Vec<String> {
    let mut remarks = Vec::new();
    let numbers = &series.numbers;
    let known = [("missing", numbers.missing, &numbers.missing_ranges), ("gone", numbers.gone, &numbers.gone_ranges)];
    for (what, total, ranges) in known.into_iter().filter(|(_, total, _)| *total > 0) {
        let list = ranges.iter().take(MAX_RANGES).map(|[from, to]| span(*from, *to)).collect::<Vec<_>>().join(", ");
        let more = if ranges.len() > MAX_RANGES { " …" } else { "" };
        remarks.push(format!("{what} {total} of the numbers: {list}{more}"));
    }
    if numbers.repeated > 0 {
        remarks.push(format!("{} of more than one instance", count_are(numbers.repeated, "number")));
    }
    if numbers.without > 0 {
        remarks.push(format!("{} without a number", count_are(numbers.without, "file")));
    }
    if series.versions > 0 {
        remarks.push(format!("{} of an instance that is there already", count_are(series.versions, "further version")));
    }
    if series.gone > 0 {
        remarks.push(format!("{} gone", count_are(series.gone, "file")));
    }
    if series.released > 0 {
        remarks.push(format!("{} released", count_are(series.released, "file")));
    }
    remarks
}

/// The senders, with what each sent: two lines each.
fn senders(arrivals: &[Arrival], width: usize) -> String {
    let mut table = Table::new(["FROM", "FILES", "FIRST RECEIVED", "LAST RECEIVED"]);
    for ((title, address, rule), of) in by_sender(arrivals) {
        let title = title.map_or_else(|| "not recorded".to_owned(), |title| cut(&safe(title), TITLE_COLUMNS));
        let mut line = vec![address.map(safe).unwrap_or_default()];
        line.extend(rule.map(|rule| format!("rule {}", safe(rule))));
        if !of.associations.is_empty() {
            line.push(associations(&of.associations));
        }
        table.row([title, of.files.to_string(), second(of.first), second(of.last)]);
        if address.is_some() {
            table.line(line.join(", "));
        }
    }
    table.render(width)
}

/// What one sender sent by all its associations.
struct Sent<'a> {
    files: u64,
    first: &'a str,
    last: &'a str,
    associations: Vec<u32>,
}

/// A calling AE title, an address and a rule.
type SenderKey<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn by_sender(arrivals: &[Arrival]) -> BTreeMap<SenderKey<'_>, Sent<'_>> {
    let mut senders: BTreeMap<SenderKey<'_>, Sent<'_>> = BTreeMap::new();
    for arrival in arrivals {
        let key = (arrival.calling_ae_title.as_deref(), arrival.address.as_deref(), arrival.rule.as_deref());
        let (first, last) = (arrival.first_received.as_str(), arrival.last_received.as_str());
        let sent = senders.entry(key).or_insert(Sent { files: 0, first, last, associations: Vec::new() });
        sent.files += arrival.files;
        sent.first = sent.first.min(first);
        sent.last = sent.last.max(last);
        sent.associations.extend(arrival.association);
    }
    senders
}

fn associations(numbers: &[u32]) -> String {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some((_, to)) if number.saturating_sub(*to) <= 1 => *to = number,
            _ => spans.push((number, number)),
        }
    }
    let shown = spans.iter().take(MAX_ASSOCIATIONS).map(|(from, to)| span((*from).into(), (*to).into()));
    let more = if spans.len() > MAX_ASSOCIATIONS { " …" } else { "" };
    let list = shown.collect::<Vec<_>>().join(", ");
    let one = spans.first().is_some_and(|(from, to)| from == to) && spans.len() == 1;
    format!("association{} {list}{more}", if one { "" } else { "s" })
}

fn span(from: i64, to: i64) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

fn left_out(out: &mut String, total: u64, shown: usize, what: &str) {
    let left = total.saturating_sub(shown as u64);
    if left > 0 {
        out.push_str(&format!("and {left} more {what}\n"));
    }
}

/// The files of an instance.
pub(super) fn instances(found: &Instances, width: usize) -> String {
    let text = |file| format!("{}{}", instance(file, width), way(file, &found.destinations, width));
    found.instances.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn instance(file: &Instance, width: usize) -> String {
    let state = match file.state {
        Presence::Present => "present".to_owned(),
        Presence::Gone => format!("gone, found so at {}", file.ended.as_deref().map(second).unwrap_or_default()),
        Presence::Released => {
            format!("removed by the node at {}", file.ended.as_deref().map(second).unwrap_or_default())
        }
    };
    let sender = match &file.origin {
        None => "not recorded".to_owned(),
        Some(from) => {
            let rule = from.rule.as_deref().map(|rule| format!(", rule {}", safe(rule))).unwrap_or_default();
            let title = cut(&safe(&from.calling_ae_title), TITLE_COLUMNS);
            let address = from.address.as_deref().map(|address| format!(" at {}", safe(address))).unwrap_or_default();
            let association = from.association.map(|number| format!(", association {number}")).unwrap_or_default();
            format!("{title}{address}{association}{rule}")
        }
    };
    let number = file.instance_number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let lines = [
        ("state", state),
        ("received", second(&file.received)),
        ("from", sender),
        ("size", format!("{} ({} bytes)", size(file.bytes), file.bytes)),
        ("xxh128", file.digest.clone().unwrap_or_else(|| "not recorded".to_owned())),
        ("number", number),
        ("instance", safe(&file.sop_instance_uid)),
        ("series", uid(&file.series_instance_uid)),
        ("study", uid(&file.study_instance_uid)),
        ("SOP class", safe(&file.sop_class_uid)),
        ("syntax", safe(&file.transfer_syntax_uid)),
    ];
    // The path is copied from here.
    labelled("file", &safe(&file.path), usize::MAX)
        + &lines.iter().map(|(label, value)| labelled(label, value, width)).collect::<String>()
}

/// How far a file has come to each destination. Those that are not owed it are named if it is there, since the question may be why.
fn way(file: &Instance, destinations: &[String], width: usize) -> String {
    let known = file.deliveries.iter().map(|way| (way.destination.as_str(), progress(way)));
    let is_known = |name: &&String| file.deliveries.iter().any(|way| way.destination == **name);
    let is_present = file.state == Presence::Present;
    let others = destinations.iter().filter(|name| is_present && !is_known(name));
    let others = others.map(|name| (name.as_str(), "not owed".to_owned()));
    known.chain(others).map(|(name, text)| labelled("to", &format!("{}: {text}", safe(name)), width)).collect()
}

fn progress(way: &InstanceDelivery) -> String {
    let status = way.last_status.as_ref().map(|status| format!("status {}", safe(status)));
    let reason = way.reason.as_deref().map(safe);
    // The reason begins with the status, if there was one.
    let why = reason.or(status).map(|why| format!(": {why}")).unwrap_or_default();
    let at = |at: &Option<String>| at.as_deref().map(second).unwrap_or_default();
    match way.state.as_str() {
        "waiting" => format!("waiting since {}", second(&way.since)),
        "retrying" => {
            format!("failed {}, tried again at {}{why}", count(way.attempts.into(), "time"), at(&way.next_attempt))
        }
        "dead" => {
            format!("DEAD, given up at {} after {}{why}", at(&way.last_attempt), count(way.attempts.into(), "attempt"))
        }
        "dropped" => format!("dropped by an operator at {}", second(&way.since)),
        state => format!("{} at {}{why}", safe(state), second(&way.since)),
    }
}

/// The state of the catalogue.
pub(super) fn state(state: &CatalogueState, width: usize) -> String {
    let condition = match state.condition {
        CatalogueCondition::Current => "current: it has every instance that was stored more than a moment ago",
        CatalogueCondition::CatchingUp => {
            "catching up: it is compared with the stored files for the first time since the start"
        }
        CatalogueCondition::Behind => "behind: it misses instances, and will have them by itself",
        CatalogueCondition::Rebuilding => "rebuilding: it is made from the stored files, and knows a part of them",
        CatalogueCondition::Unavailable => "UNAVAILABLE: instances are stored as before",
    };
    let mut lines = vec![("condition", condition.to_owned())];
    lines.extend(state.reason.as_deref().map(|reason| ("reason", safe(reason))));
    lines.extend(state.remedy.as_deref().map(|remedy| ("remedy", safe(remedy))));
    lines.push(("size", size(state.bytes)));
    let (waiting, capacity) = (state.waiting, state.capacity);
    lines.push((
        "records",
        format!(
            "{waiting} of {capacity} waiting, {} entered, {} missed since the start",
            state.entered_total, state.missed_total
        ),
    ));
    lines.extend(state.last_batch.as_ref().map(|batch| {
        ("last batch", format!("{} in {} ms, at {}", count(batch.records, "record"), batch.took_ms, second(&batch.at)))
    }));
    lines.extend(state.gap.as_ref().map(|gap| {
        ("gap", format!("{} missed since {}: {}", count(gap.missed, "instance"), second(&gap.since), safe(&gap.reason)))
    }));
    for (label, work) in [("work", &state.work), ("last check", &state.last_check)] {
        let Some(work) = work else { continue };
        lines.push((label, work_text(work)));
        if state.condition == CatalogueCondition::Unavailable {
            lines.extend(work.problems.iter().map(|problem| ("", safe(problem))));
        } else if !work.problems.is_empty() {
            lines.push(("", "it found the file damaged, which was made anew since".to_owned()));
        }
    }
    labelled("catalogue", &safe(&state.path), usize::MAX)
        + &lines.iter().map(|(label, value)| labelled(label, value, width)).collect::<String>()
}

/// A check or a rebuild that came to its end.
pub(super) fn done(work: &WorkProgress, width: usize) -> String {
    let verdict = match (work.work.as_str(), work.differences()) {
        _ if !work.problems.is_empty() => {
            "the file of the catalogue is damaged: `tidegate catalogue rebuild` makes it anew".to_owned()
        }
        ("check", 0) => "catalogue and stored files agree".to_owned(),
        ("check", differences) => format!("{} between catalogue and stored files", count(differences, "difference")),
        _ => "the catalogue has every stored file".to_owned(),
    };
    let mut out = wrapped("", &verdict, width) + &wrapped("", &work_text(work), width);
    work.problems.iter().for_each(|problem| out.push_str(&wrapped("  ", &safe(problem), width)));
    // Other works have corrected what they found.
    if work.work == "check" { out + &named(work) } else { out }
}

/// The differences that a check has named, a line each. Paths are not cut.
fn named(work: &WorkProgress) -> String {
    let line = |found: &NamedDifference| {
        let uid =
            found.sop_instance_uid.as_deref().map(|uid| format!("\n  instance {}", safe(uid))).unwrap_or_default();
        let is_in_path = found.sop_instance_uid.as_deref().is_some_and(|uid| found.path.contains(uid));
        format!("{}: {}{}\n", safe(&found.path), safe(&found.text), if is_in_path { String::new() } else { uid })
    };
    let mut lines: String = work.named.iter().map(line).collect();
    left_out(&mut lines, work.differences() + work.unreadable, work.named.len(), "differences");
    lines
}

fn work_text(work: &WorkProgress) -> String {
    let when = if work.is_running { "running for" } else { "took" };
    format!(
        "{}, {when} {}: {} ({}/s), {} new, {} changed, {} gone, {} unreadable",
        safe(&work.work),
        age(work.took_ms),
        count(work.files, "file"),
        work.files_per_s,
        work.new,
        work.changed,
        work.gone,
        work.unreadable
    )
}

fn cell(value: &Option<String>, width: usize) -> String {
    cut(&value.as_deref().map(safe).unwrap_or_default(), width)
}

fn uid(uid: &str) -> String {
    if uid.is_empty() { "(without a UID)".to_owned() } else { safe(uid) }
}

/// A time to the minute.
fn minute(rfc3339: &str) -> String {
    rfc3339.get(..16).unwrap_or(rfc3339).replacen('T', " ", 1)
}

/// A date of DICOM as people write it, if it is one.
fn day(date: &str) -> String {
    let is_date = date.len() == 8 && date.bytes().all(|digit| digit.is_ascii_digit());
    if is_date { format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]) } else { safe(date) }
}

fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

fn are(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

fn count_are(number: u64, one: &str) -> String {
    format!("{} {}", count(number, one), are(number))
}
