//! Questions to the source of a study: how many instances it has of it.

use rusqlite::{Connection, Result};

/// An answer has so long, in milliseconds; then the study goes by what is known without it.
pub(super) const ANSWER_MS: i64 = 30_000;

/// A study whose source is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Study Instance UID.
    pub study_uid: String,
    /// The source's AE title.
    pub ae_title: String,
    /// When the study began to wait for the answer, in milliseconds since 1970: the mark of this question.
    pub asked_ms: i64,
    /// When it waits no longer.
    pub until_ms: i64,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Study Instance UID.
    pub study_uid: String,
    /// Of the question.
    pub asked_ms: i64,
    /// The instances of the study that its source has; `None`: it has not said.
    pub instances: Option<i64>,
}

/// The first of the sources of a study that may be asked, the last one first.
pub(super) fn source(db: &Connection, study: i64, may_ask: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
    let sql = "SELECT calling_ae_title FROM series JOIN instance ON instance.series = series.id
        JOIN arrival ON arrival.id = instance.arrival JOIN source ON source.id = arrival.source WHERE series.study = ?1
        GROUP BY calling_ae_title ORDER BY max(instance.received_ms) DESC, max(instance.id) DESC";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([study])?;
    while let Some(row) = rows.next()? {
        let ae_title: String = row.get(0)?;
        if may_ask(&ae_title) {
            return Ok(Some(ae_title));
        }
    }
    Ok(None)
}

/// The study waits for the answer. Returns until when.
pub(super) fn ask(db: &Connection, study: i64, now_ms: i64) -> Result<i64> {
    let until_ms = now_ms.saturating_add(ANSWER_MS);
    let sql = "UPDATE study SET asked_ms = ?2, due_ms = ?3 WHERE id = ?1";
    db.prepare_cached(sql)?.execute((study, now_ms, until_ms))?;
    Ok(until_ms)
}

/// An answer has come: the study is due. One to an earlier question means nothing.
pub(crate) fn answer(db: &Connection, answer: &Answer, now_ms: i64) -> Result<()> {
    let Answer { study_uid, asked_ms, instances } = answer;
    let sql = "UPDATE study SET source_has = ?3, asked_ms = NULL, due_ms = ?4 WHERE uid = ?1 AND asked_ms = ?2 AND due_ms IS NOT NULL";
    db.prepare_cached(sql)?.execute((study_uid, asked_ms, instances.unwrap_or(-1), now_ms)).map(drop)
}

/// The node knows of no question from before `since_ms` any more: those without an answer are asked again. The others keep their deadlines.
pub(super) fn forget(db: &Connection, now_ms: i64, since_ms: i64) -> Result<()> {
    let sql = "UPDATE study SET asked_ms = NULL, due_ms = ?1 WHERE asked_ms < ?2 AND due_ms IS NOT NULL";
    db.execute(sql, [now_ms, since_ms]).map(drop)
}
