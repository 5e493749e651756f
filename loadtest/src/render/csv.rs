//! A run second by second, for a spreadsheet or a script.

use std::fmt::Write;

use crate::result::RunResult;

const HEAD: &str = "t_s,acknowledged,bytes,failed,p50_ms,p99_ms,max_ms,associations,backlog,rss_bytes,cpu_s,leased_bytes,mailbox_depth\n";

/// A line for each second (RFC 4180); what was not seen is empty.
pub(crate) fn csv(run: &RunResult) -> String {
    let mut text = HEAD.replace('\n', "\r\n");
    for second in &run.series {
        let target = second.target.as_ref();
        let seen = |figure: Option<u64>| figure.map_or(String::new(), |figure| figure.to_string());
        // Writing to a String never fails.
        let _ = write!(
            text,
            "{:.3},{},{},{},{:.3},{:.3},{:.3},{},{},{},{},{},{}\r\n",
            second.t_s,
            second.acknowledged,
            second.bytes,
            second.failed,
            second.p50_ms,
            second.p99_ms,
            second.max_ms,
            second.associations,
            second.backlog,
            seen(target.map(|target| target.rss_bytes)),
            target.map_or(String::new(), |target| format!("{:.2}", target.cpu_s)),
            seen(target.and_then(|target| target.leased_bytes)),
            seen(target.and_then(|target| target.mailbox_depth)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    #[test]
    fn every_second_is_a_line_of_as_many_fields_as_the_head() {
        let mut run = fixture::run(1, 1.0);
        run.series[3].target = None;
        let text = csv(&run);
        let lines: Vec<&str> = text.trim_end().split("\r\n").collect();
        assert_eq!(lines.len(), 1 + run.series.len());
        assert!(lines.iter().all(|line| line.split(',').count() == 13), "{text}");
        assert!(lines[4].ends_with(",,,,") && lines[1].contains(&run.series[0].bytes.to_string()), "{text}");
    }
}
