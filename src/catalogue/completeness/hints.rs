//! Hints of whether a study or series is whole: numbers that datasets tell, holes in the Instance Numbers of a series, the answer of the source.
//!
//! None of them is proof. A number is told of what the sender had at the time, an image may have been deleted at the modality. So a hint shortens the wait
//! only where nothing contradicts it, and lengthens it no further than to a bound.

use rusqlite::{Connection, OptionalExtension, Result};

use super::Wholeness;
use super::table::Table;

/// A study or series of which all has come that was told is due after so long: another association may just be coming.
const GRACE_MS: i64 = 2_000;

/// Numbers that new contents tell.
#[derive(Clone, Copy, Default)]
pub(super) struct Expected {
    least: Option<i64>,
    most: Option<i64>,
    /// How many have told one.
    by: i64,
}

impl Expected {
    /// Exactly so many.
    pub(super) fn exactly(number: Option<i64>) -> Self {
        Self { least: number, most: number, by: i64::from(number.is_some()) }
    }

    /// So many, perhaps: reaching it shortens nothing.
    pub(super) fn up_to(number: Option<i64>) -> Self {
        Self { least: number.map(|_| 0), ..Self::exactly(number) }
    }

    pub(super) fn join(self, other: Self) -> Self {
        let least = [self.least, other.least].into_iter().flatten().min();
        Self { least, most: self.most.max(other.most), by: self.by + other.by }
    }
}

/// Opens, and makes it due early if it has as many instances as all that tell a number do. One content that tells the number is not enough: some senders
/// write how many they had so far.
pub(super) fn open(
    db: &Connection,
    table: &Table,
    (id, state): (i64, i64),
    (at_ms, due_ms): (i64, i64),
    expected: Expected,
) -> Result<()> {
    let Expected { least, most, by } = expected;
    let agreed: Option<i64> =
        db.prepare_cached(table.open)?.query_row((id, state, due_ms, least, most, by), |row| row.get(0))?;
    let Some(agreed) = agreed else { return Ok(()) };
    let count = |sql| db.prepare_cached(sql)?.query_row([id], |row| row.get::<_, i64>(0));
    if count(table.files)? >= agreed && count(table.instances)? == agreed {
        db.prepare_cached(table.shorten)?.execute((id, at_ms.saturating_add(GRACE_MS)))?;
    }
    Ok(())
}

/// By what something is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Nothing new has come.
    Quiet,
    /// It has as many instances as its datasets tell.
    Told,
    /// Its source has answered.
    Asked,
}

impl Basis {
    /// The name in events and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Told => "told",
            Self::Asked => "asked",
        }
    }
}

/// What hints say of a study or series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// By what it is complete.
    pub basis: Basis,
    /// Instances that there are, by its datasets or its source; `None`: nobody says.
    pub expected: Option<i64>,
    /// Instances that seem to be missing.
    pub missing: i64,
}

impl Hints {
    /// Of a study that is complete, as its event has told them; `None`: it is not complete.
    pub(crate) fn of_complete(db: &Connection, study: i64) -> Result<Option<Self>> {
        let sql = "SELECT source_has FROM study WHERE id = ?1 AND state = ?2";
        let values = (study, Wholeness::Complete.number());
        let answer: Option<Option<i64>> = db.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
        answer.map(|answer| Self::of_study(db, study, answer.filter(|number| *number >= 0))).transpose()
    }

    /// Of a study, whose source has answered with a number or not.
    pub(super) fn of_study(db: &Connection, study: i64, answer: Option<i64>) -> Result<Self> {
        let sql =
            "SELECT series.expected_least, series.expected_most, series.expected_by, count(DISTINCT instance.uid),
            count(DISTINCT iif(instance.number > 0, instance.number, NULL)), max(instance.number)
            FROM series CROSS JOIN instance ON instance.series = series.id WHERE series.study = ?1 GROUP BY series.id";
        let mut statement = db.prepare_cached(sql)?;
        let series = statement.query_map([study], Counts::read)?.collect::<Result<Vec<_>>>()?;
        let instances: i64 = series.iter().map(|counts| counts.instances).sum();
        // A source that has fewer than it has sent does not know.
        if let Some(expected) = answer.filter(|expected| *expected >= instances) {
            return Ok(Self { basis: Basis::Asked, expected: Some(expected), missing: expected - instances });
        }
        let sql = "SELECT expected_least, expected_most, expected_by FROM study WHERE id = ?1";
        let expected = |row: &rusqlite::Row<'_>| Ok(Counts { instances, ..Counts::expected(row)? });
        let own = db.prepare_cached(sql)?.query_row([study], expected)?.hints();
        let of_series: i64 = series.iter().map(|counts| counts.hints().missing).sum();
        let missing = if own.basis == Basis::Told { 0 } else { own.missing.max(of_series) };
        Ok(Self { missing, ..own })
    }

    /// Of a series.
    pub(super) fn of_series(db: &Connection, series: i64) -> Result<Self> {
        let sql =
            "SELECT series.expected_least, series.expected_most, series.expected_by, count(DISTINCT instance.uid),
            count(DISTINCT iif(instance.number > 0, instance.number, NULL)), max(instance.number)
            FROM series LEFT JOIN instance ON instance.series = series.id WHERE series.id = ?1";
        db.prepare_cached(sql)?.query_row([series], Counts::read).map(|counts| counts.hints())
    }
}

/// What the rows of a series say.
#[derive(Clone, Copy, Default)]
struct Counts {
    least: Option<i64>,
    most: Option<i64>,
    by: i64,
    instances: i64,
    /// Different Instance Numbers from 1 on, and the highest.
    numbers: i64,
    highest: i64,
}

impl Counts {
    fn expected(row: &rusqlite::Row<'_>) -> Result<Self> {
        Ok(Self { least: row.get(0)?, most: row.get(1)?, by: row.get(2)?, ..Self::default() })
    }

    fn read(row: &rusqlite::Row<'_>) -> Result<Self> {
        let (instances, numbers, highest) = (row.get(3)?, row.get(4)?, row.get::<_, Option<i64>>(5)?);
        Ok(Self { instances, numbers, highest: highest.unwrap_or(0).max(0), ..Self::expected(row)? })
    }

    /// A number that was not told by all alike, and holes in the Instance Numbers, count while at least half is there: there are series that begin with
    /// 101, that are numbered by tens, and that have all images of an acquisition in one instance.
    fn hints(self) -> Hints {
        let Self { least, most, by, instances, numbers, highest } = self;
        let is_agreed = least == most;
        let expected = most.filter(|most| is_agreed || instances.saturating_mul(2) >= *most);
        if is_agreed && by > 1 && expected == Some(instances) {
            return Hints { basis: Basis::Told, expected, missing: 0 };
        }
        let holes = (highest - numbers).max(0);
        let holes = if holes <= numbers { holes } else { 0 };
        let untold = expected.map_or(0, |expected| expected.saturating_sub(instances).max(0));
        Hints { basis: Basis::Quiet, expected, missing: holes.max(untold) }
    }
}
