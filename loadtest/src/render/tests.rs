use std::fs;

use super::fixture;
use super::utc;

#[test]
fn the_page_shows_everything_and_asks_nobody_for_anything() {
    let run = fixture::run(1, 1.0);
    let html = super::html(&run, Some(&fixture::compared(1.3)));
    for shown in [
        "Failed: of 18\u{202f}000 acknowledged instances 1 lost",
        "1 of 2 objectives broken",
        "Instances a second",
        "Latency distribution",
        "Leases by stage",
        "Mailbox depth",
        "out of resources",
        ">knee<",
        "2.25.1</li>",
        "Against the baseline",
        ">worse</td>",
        "slow loris",
        "file and directory synced before the answer",
        "2026-11-23 23:46 UTC",
    ] {
        assert!(html.contains(shown), "{shown}");
    }
    for asset in ["http://", "https://", "src=", "@import", "url(", "<script"] {
        assert!(!html.contains(asset), "{asset}");
    }
    assert_eq!(html.matches("<figure").count(), html.matches("</figure>").count());
    if let Ok(path) = std::env::var("RENDER_TO") {
        fs::write(path, html).unwrap();
    }
}

#[test]
fn a_run_that_saw_little_shows_little() {
    let mut run = fixture::run(1, 1.0);
    run.series.iter_mut().for_each(|second| second.target = None);
    (run.verification, run.target_usage) = (None, None);
    run.objectives.clear();
    run.steps.clear();
    let html = super::html(&run, None);
    for hidden in ["Leases by stage", "Mailbox depth", "Objectives", "Reconciliation", "knee", "NaN", "inf"] {
        assert!(!html.contains(hidden), "{hidden}");
    }
    assert!(html.contains("Passed: stored instances were not verified"));
}

#[test]
fn the_text_says_the_same_in_a_screenful() {
    let text = super::text(&fixture::run(1, 1.0));
    assert!(text.lines().count() < 30, "{text}");
    for said in [
        "p99.9",
        "A700",
        "knee *",
        "rss=100MiB",
        "Failed: of 18\u{202f}000",
        "Tidegate 0.1.0: 52.0 CPU-s, peak RSS 130 MiB",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

#[test]
fn a_result_is_read_back_and_anything_else_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.json");
    let mut run = fixture::run(1, 1.0);
    fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
    let read = super::read(&path).unwrap();
    // Not the whole: JSON may lose the last bit of a number.
    assert!((read.totals == run.totals) && (read.verification == run.verification) && (read.series.len() == 90));
    assert!(read.latency.histogram().is_some_and(|histogram| Some(histogram) == run.latency.histogram()));
    run.schema += 1;
    fs::write(&path, serde_json::to_vec(&run).unwrap()).unwrap();
    assert!(super::read(&path).unwrap_err().to_string().contains("newer than this program"));
    fs::write(&path, "{}").unwrap();
    assert!(super::read(&path).unwrap_err().to_string().contains("run.json: not a result"));
}

#[test]
fn dates_are_those_of_the_calendar() {
    assert_eq!(utc(0), "1970-01-01 00:00 UTC");
    assert_eq!(utc(951_782_400_000), "2000-02-29 00:00 UTC");
    assert_eq!(utc(1_735_689_599_000), "2024-12-31 23:59 UTC");
}
