//! The answers. `openapi.json` describes each field; `tests/tidy/openapi.rs` compares the two. Values of a dataset are as they were received:
//! whoever shows them escapes them.

use serde::{Deserialize, Serialize};
use tidegate_catalogue::{ArrivalRow, Hints, Numbers, SeriesRow, Study as StudyFound};

use crate::admin::outbox::model::{DeliverySums, StudyProgress, count};
use crate::admin::time::rfc3339;

/// A page of studies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Studies {
    /// Newest first: by the time of the last instance received.
    pub(crate) studies: Vec<Study>,
    /// The value of `after` for the next page, if there is one.
    pub(crate) next: Option<String>,
    /// Absent if the file was read without a node.
    pub(crate) catalogue: Option<CatalogueState>,
}

/// A study as a list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Study {
    /// Empty for instances without one.
    pub(crate) study_instance_uid: String,
    pub(crate) patient_id: Option<String>,
    pub(crate) patient_name: Option<String>,
    pub(crate) patient_birth_date: Option<String>,
    pub(crate) accession_number: Option<String>,
    pub(crate) study_date: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) modalities: Vec<String>,
    pub(crate) calling_ae_titles: Vec<String>,
    pub(crate) series: u64,
    /// Files that are there; each version of an instance is one.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that are not there any more, and that the node has not removed.
    pub(crate) gone: u64,
    /// Files that the node has removed, since they were delivered.
    pub(crate) released: u64,
    pub(crate) first_received: String,
    pub(crate) last_received: String,
    /// Its deliveries to all destinations together; absent if nothing of it was ever owed.
    pub(crate) deliveries: Option<DeliverySums>,
    /// `unknown`, `open`, `complete` or `reopened`.
    pub(crate) completeness: String,
    /// When it was complete last; absent if it never was.
    pub(crate) completed: Option<String>,
}

/// A study with its series and its senders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StudyDetail {
    pub(crate) study: Study,
    /// Absent unless it is complete.
    pub(crate) completion: Option<Completion>,
    /// The directories of its files that are there, below the storage root, in the order of their names; the first hundred.
    pub(crate) directories: Vec<String>,
    /// How many there are.
    pub(crate) directories_total: u64,
    /// By number; the first thousand.
    pub(crate) series: Vec<Series>,
    /// In the order of arrival; the first thousand.
    pub(crate) arrivals: Vec<Arrival>,
    /// How many there are.
    pub(crate) arrivals_total: u64,
    /// By destination.
    pub(crate) deliveries: Vec<StudyProgress>,
    /// Absent if the file was read without a node.
    pub(crate) catalogue: Option<CatalogueState>,
}

/// By what a study is complete, as its event has told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Completion {
    /// `quiet`, `told` or `asked`.
    pub(crate) basis: String,
    /// Instances that there are, by its datasets or its source; absent if nobody says.
    pub(crate) expected: Option<u64>,
    /// Instances that seem to be missing.
    pub(crate) missing: u64,
}

/// A series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    /// Empty for instances without one.
    pub(crate) series_instance_uid: String,
    pub(crate) modality: Option<String>,
    pub(crate) number: Option<i64>,
    pub(crate) description: Option<String>,
    /// Files that are there; each version of an instance is one.
    pub(crate) files: u64,
    /// Of them, further versions of an instance that is there already.
    pub(crate) versions: u64,
    pub(crate) bytes: u64,
    pub(crate) gone: u64,
    pub(crate) released: u64,
    pub(crate) first_received: String,
    pub(crate) last_received: String,
    pub(crate) numbers: InstanceNumbers,
}

/// The Instance Numbers of a series' files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceNumbers {
    /// Absent if no instance has a number.
    pub(crate) lowest: Option<i64>,
    pub(crate) highest: Option<i64>,
    /// How many between those that are known no instance has, nor had one whose file is gone.
    pub(crate) missing: u64,
    /// The first 64 ranges of them, each with both ends.
    pub(crate) missing_ranges: Vec<[i64; 2]>,
    /// How many only files have had that are gone.
    pub(crate) gone: u64,
    /// The first 64 ranges of them, each with both ends.
    pub(crate) gone_ranges: Vec<[i64; 2]>,
    /// Numbers that more than one instance has.
    pub(crate) repeated: u64,
    /// Files without a number.
    pub(crate) without: u64,
}

/// What one association sent of a study. The first four fields are absent for files that do not say who sent them; a file without a receipt
/// says the calling AE title alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrival {
    pub(crate) calling_ae_title: Option<String>,
    pub(crate) address: Option<String>,
    /// Absent if no access rule let it in.
    pub(crate) rule: Option<String>,
    pub(crate) association: Option<u32>,
    /// Files, those that are gone too.
    pub(crate) files: u64,
    pub(crate) first_received: String,
    pub(crate) last_received: String,
}

/// The catalogue of the running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogueState {
    /// The file.
    pub(crate) path: String,
    pub(crate) condition: CatalogueCondition,
    /// Why it is unavailable or behind; absent if it is neither.
    pub(crate) reason: Option<String>,
    /// What an operator can do about it.
    pub(crate) remedy: Option<String>,
    /// Records that wait to be entered, and how many may.
    pub(crate) waiting: u64,
    pub(crate) capacity: u64,
    /// Records entered since the start.
    pub(crate) entered_total: u64,
    /// Instances that were stored and not entered, since the start. Catch-up finds them.
    pub(crate) missed_total: u64,
    /// The gap that catch-up has not closed yet.
    pub(crate) gap: Option<CatalogueGap>,
    pub(crate) last_batch: Option<CatalogueBatch>,
    /// The catch-up, check or rebuild under way, or the last one.
    pub(crate) work: Option<WorkProgress>,
    /// The last check that came to its end.
    pub(crate) last_check: Option<WorkProgress>,
    /// Of the file and its log.
    pub(crate) bytes: u64,
}

/// A time in which instances are stored and not entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogueGap {
    pub(crate) since: String,
    pub(crate) reason: String,
    /// Instances known to be missed.
    pub(crate) missed: u64,
}

/// Records that were entered by one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CatalogueBatch {
    pub(crate) at: String,
    pub(crate) records: u64,
    pub(crate) took_ms: u64,
}

/// Work on the whole catalogue that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkAsked {
    /// It is done when a work of this number or a higher one has ended: `catalogue.work`, of a check `catalogue.last_check`.
    pub(crate) number: u64,
    /// `catch_up`, `check` or `rebuild`.
    pub(crate) work: String,
    pub(crate) catalogue: CatalogueState,
}

/// How far a work on the whole catalogue has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkProgress {
    /// Rises with each work since the start of the node. A work that does others' as well has the highest of their numbers.
    pub(crate) number: u64,
    /// `changes`, `catch_up`, `check` or `rebuild`.
    pub(crate) work: String,
    pub(crate) is_running: bool,
    pub(crate) began: String,
    pub(crate) took_ms: u64,
    /// Directories compared.
    pub(crate) directories: u64,
    /// Directories passed over, since they have not changed.
    pub(crate) skipped: u64,
    /// Files listed.
    pub(crate) files: u64,
    pub(crate) files_per_s: u64,
    /// Of them, read.
    pub(crate) read: u64,
    /// Files that the catalogue did not have.
    pub(crate) new: u64,
    /// Files of which it had something else.
    pub(crate) changed: u64,
    /// Files that are no instances.
    pub(crate) other: u64,
    /// Files that it had and the disk has not.
    pub(crate) gone: u64,
    /// Files and directories that could not be looked at.
    pub(crate) unreadable: u64,
    /// The first differences that a check found, at most 100. Only for operators: a path may name a patient.
    pub(crate) named: Vec<NamedDifference>,
    /// What a check found wrong within the file, at most 100.
    pub(crate) problems: Vec<String>,
}

/// A difference between catalogue and disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedDifference {
    /// `not_entered`, `gone`, `size`, `digest` or `unreadable`.
    pub(crate) kind: String,
    /// Below the storage root.
    pub(crate) path: String,
    /// Absent if it is not known.
    pub(crate) sop_instance_uid: Option<String>,
    /// What differs, for people.
    pub(crate) text: String,
}

/// How far the catalogue can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CatalogueCondition {
    /// It is compared with the disk since the start or a gap.
    CatchingUp,
    /// It has every instance that was stored more than a moment ago.
    Current,
    /// Instances were stored and not entered yet.
    Behind,
    /// It cannot be used. Instances are stored as before.
    Unavailable,
    /// It is made from the files, and knows a part of them.
    Rebuilding,
}

impl CatalogueState {
    /// Without the differences that a check has named.
    pub(crate) fn without_names(mut self) -> Self {
        self.work.iter_mut().chain(&mut self.last_check).for_each(|work| work.named.clear());
        self
    }

    /// What limits an answer that was given in this state, if anything does.
    pub(crate) fn caveat(&self) -> Option<String> {
        let files = self.work.as_ref().filter(|work| work.is_running).map_or(0, |work| work.files);
        let why = match self.condition {
            CatalogueCondition::Current => return None,
            CatalogueCondition::CatchingUp | CatalogueCondition::Rebuilding => {
                format!("is being compared with the disk: {files} files so far")
            }
            CatalogueCondition::Behind => "is behind".to_owned(),
            CatalogueCondition::Unavailable => "is unavailable".to_owned(),
        };
        let reason = self.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
        Some(format!("the catalogue {why}{reason}; what is missing here may be stored all the same"))
    }
}

impl WorkProgress {
    /// Differences between catalogue and disk that were found.
    pub(crate) fn differences(&self) -> u64 {
        self.new + self.changed + self.gone
    }
}

/// The rule of that name, if there was one.
pub(super) fn rule(name: String) -> Option<String> {
    Some(name).filter(|name| !name.is_empty())
}

impl From<StudyFound> for StudyDetail {
    fn from(found: StudyFound) -> Self {
        Self {
            study: found.summary.into(),
            completion: found.hints.map(Completion::from),
            directories: found.directories.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            directories_total: found.directories_total,
            series: found.series.into_iter().map(Series::from).collect(),
            arrivals: found.arrivals.into_iter().map(Arrival::from).collect(),
            arrivals_total: found.arrivals_total,
            deliveries: Vec::new(),
            catalogue: None,
        }
    }
}

impl From<Hints> for Completion {
    fn from(hints: Hints) -> Self {
        let Hints { basis, expected, missing } = hints;
        Self { basis: basis.name().to_owned(), expected: expected.map(count), missing: count(missing) }
    }
}

impl From<SeriesRow> for Series {
    fn from(row: SeriesRow) -> Self {
        Self {
            series_instance_uid: row.values.uid,
            modality: row.values.modality,
            number: row.values.number,
            description: row.values.description,
            files: row.instances,
            versions: row.versions,
            bytes: row.bytes,
            gone: row.gone,
            released: row.released,
            first_received: rfc3339(row.first_ms),
            last_received: rfc3339(row.last_ms),
            numbers: row.numbers.into(),
        }
    }
}

impl From<Numbers> for InstanceNumbers {
    fn from(numbers: Numbers) -> Self {
        let (lowest, highest) = numbers.range.unzip();
        let ranges = |ranges: Vec<(i64, i64)>| ranges.into_iter().map(<[i64; 2]>::from).collect();
        let (missing_ranges, gone_ranges) = (ranges(numbers.missing_ranges), ranges(numbers.gone_ranges));
        let Numbers { missing, gone, repeated, without, .. } = numbers;
        Self { lowest, highest, missing, missing_ranges, gone, gone_ranges, repeated, without }
    }
}

impl From<ArrivalRow> for Arrival {
    fn from(row: ArrivalRow) -> Self {
        let (first_received, last_received) = (rfc3339(row.first_ms), rfc3339(row.last_ms));
        let of_unknown = Self { files: row.instances, first_received, last_received, ..Self::default() };
        let Some(origin) = row.origin else { return of_unknown };
        Self {
            calling_ae_title: Some(origin.calling_ae_title),
            address: origin.address,
            rule: rule(origin.rule),
            association: origin.association,
            ..of_unknown
        }
    }
}
