//! A load that was: the associations of a Tidegate's own log (`[log] format = "json"`), each with its sender, its begin and end, and how
//! many instances came over it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

/// Associations that are played; a longer log is cut.
const MAX_VISITS: usize = 1_000_000;

/// One association of the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Visit {
    /// From the first of the log.
    pub(crate) at_s: f64,
    pub(crate) lasts_s: f64,
    pub(crate) instances: u64,
    pub(crate) calling_ae: String,
}

/// A line of the log, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Line {
    timestamp: String,
    message: String,
    peer: Option<String>,
    #[serde(alias = "calling_ae")]
    calling: Option<String>,
    acknowledged: Option<u64>,
    refused: Option<u64>,
    duration_ms: Option<u64>,
}

/// Reads the associations that sent something, in the order of their beginnings. Lines that are no JSON are passed over.
///
/// # Errors
/// Those of the file; `InvalidData` when no association in it came to its end.
pub(super) fn read(path: &Path) -> io::Result<Vec<Visit>> {
    let mut begun: BTreeMap<String, f64> = BTreeMap::new();
    let mut visits = Vec::new();
    for line in BufReader::new(fs::File::open(path)?).lines() {
        let Ok(Line { timestamp, message, peer: Some(peer), calling, acknowledged, refused, duration_ms }) =
            serde_json::from_str(&line?)
        else {
            continue;
        };
        let Some(now_s) = seconds(&timestamp) else {
            continue;
        };
        match message.as_str() {
            "association accepted" => {
                begun.insert(peer, now_s);
            }
            "association ended" => {
                let instances = acknowledged.unwrap_or_default() + refused.unwrap_or_default();
                // A busy node does not log each begin.
                let began_s = begun.remove(&peer).or(duration_ms.map(|duration| now_s - duration as f64 / 1e3));
                if let Some(at_s) = began_s.filter(|_| instances > 0 && visits.len() < MAX_VISITS) {
                    // Of the first version, the title was quoted twice.
                    let calling_ae = calling.unwrap_or_default().trim_matches('"').to_owned();
                    visits.push(Visit { at_s, lasts_s: (now_s - at_s).max(0.0), instances, calling_ae });
                }
            }
            _ => {}
        }
    }
    visits.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let first_s = visits.first().map(|visit| visit.at_s);
    let none = "no association of a Tidegate's log in JSON came to its end in it: [log] format = \"json\"";
    let first_s = first_s.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, none))?;
    visits.iter_mut().for_each(|visit| visit.at_s -= first_s);
    Ok(visits)
}

/// The most associations that stood at a time.
pub(super) fn most_at_a_time(visits: &[Visit]) -> u32 {
    let begins = visits.iter().map(|visit| (visit.at_s, 1));
    let mut changes: Vec<(f64, i64)> =
        begins.chain(visits.iter().map(|visit| (visit.at_s + visit.lasts_s, -1))).collect();
    changes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut now, mut most) = (0, 1);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    u32::try_from(most).unwrap_or(u32::MAX)
}

/// Seconds of a time such as `2026-11-28T18:30:00.123456Z`, from any fixed day.
fn seconds(timestamp: &str) -> Option<f64> {
    let (date, time) = timestamp.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.trim_end_matches('Z').splitn(3, ':');
    let (hour, minute): (f64, f64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    // Days from civil (H. Hinnant), with March as the first month.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    Some(days as f64 * 86_400.0 + hour * 3600.0 + minute * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"not JSON
{"timestamp":"2026-11-30T23:59:59.500000Z","level":"INFO","peer":"10.0.0.1:1","calling":"CT1","message":"association accepted"}
{"timestamp":"2026-12-01T00:00:01.000000Z","level":"INFO","peer":"10.0.0.2:9","calling_ae":"\"MR\"","message":"association accepted"}
{"timestamp":"2026-12-01T00:00:02.500000Z","level":"INFO","peer":"10.0.0.1:1","calling":"CT1","end":"released","acknowledged":30,"refused":2,"message":"association ended"}
{"timestamp":"2026-12-01T00:00:02.600000Z","level":"INFO","peer":"10.0.0.3:1","acknowledged":5,"message":"association ended"}
{"timestamp":"2026-12-01T00:00:03.000000Z","level":"INFO","peer":"10.0.0.2:9","calling_ae":"\"MR\"","acknowledged":1,"refused":0,"message":"association ended"}
{"timestamp":"2026-12-01T00:00:03.500000Z","level":"INFO","peer":"10.0.0.4:9","calling_ae":"\"US\"","acknowledged":2,"refused":0,"duration_ms":750,"message":"association ended"}
"#;

    #[test]
    fn the_associations_of_a_log_are_read_with_their_times_and_senders() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        fs::write(&path, LOG).unwrap();
        let visits = read(&path).unwrap();
        let visit = |at_s, lasts_s, instances, calling_ae: &str| Visit {
            at_s,
            lasts_s,
            instances,
            calling_ae: calling_ae.into(),
        };
        assert_eq!(visits, [visit(0.0, 3.0, 32, "CT1"), visit(1.5, 2.0, 1, "MR"), visit(3.25, 0.75, 2, "US")]);
        assert_eq!(most_at_a_time(&visits), 2);
        fs::write(&path, "nothing").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("[log] format"));
    }
}
