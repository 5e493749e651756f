//! The frame of `top`: sums, throughput and response of the last minutes, memory by stage against the budget, writers, associations.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use super::view::View;
use crate::admin::model::{Association, Leased, Second};
use crate::admin::writers::Writer;
use crate::cli::associations::title;
use crate::cli::look::{disk, headline, memory};
use crate::cli::table::wrapped;
use crate::cli::text::{age, duration, size};

/// From this many lines on, the charts are higher.
const ROOMY_LINES: u16 = 30;

/// Each stage with its name and its colour, in the order in which a byte passes them.
fn stages(leased: &Leased) -> [(&'static str, u64, Color); 8] {
    [
        ("floor", leased.floor, Color::Gray),
        ("tls", leased.tls, Color::Cyan),
        ("negotiating", leased.negotiating, Color::LightMagenta),
        ("receiving", leased.receiving, Color::Blue),
        ("queued", leased.queued, Color::Yellow),
        ("writing", leased.writing, Color::Green),
        ("spooling", leased.spooling, Color::Magenta),
        ("admin", leased.admin, Color::DarkGray),
    ]
}

pub(super) fn draw(frame: &mut Frame<'_>, view: &View) {
    // A small terminal has more rows of associations instead of higher charts.
    let chart_lines = if frame.area().height < ROOMY_LINES { 4 } else { 6 };
    let width = usize::from(frame.area().width);
    let (sums, foot_lines) = (sums(view, width), foot_lines(view, width));
    let length = |lines: &[Line<'_>]| Constraint::Length(u16::try_from(lines.len()).unwrap_or(u16::MAX));
    let [head, charts, stages, pool, list, foot] = Layout::vertical([
        length(&sums),
        Constraint::Length(chart_lines),
        Constraint::Length(4),
        Constraint::Length(3),
        Constraint::Min(4),
        length(&foot_lines),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(sums), head);
    let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(charts);
    draw_throughput(frame, view, left);
    draw_response(frame, view, right);
    draw_memory(frame, view, stages);
    draw_pool(frame, view, pool);
    draw_associations(frame, view, list);
    frame.render_widget(Paragraph::new(foot_lines), foot);
}

/// Lines that are broken at spaces where they have no room: a figure or a remedy is never cut.
fn broken(begin: &str, text: &str, width: usize, style: impl Into<Style>) -> Vec<Line<'static>> {
    let style = style.into();
    wrapped(begin, text, width).lines().map(|line| Line::styled(line.to_owned(), style)).collect()
}

fn sums(view: &View, width: usize) -> Vec<Line<'static>> {
    let status = &view.look.status;
    let mood = if status.readiness.ready { Color::Green } else { Color::Red };
    let failing: Vec<_> =
        status.readiness.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    let mut lines = broken("● ", &headline(status), width, Style::from(mood).bold());
    if !failing.is_empty() {
        lines.extend(broken("  failing: ", &failing.join(", "), width, Color::Red));
    }
    let total = format!(
        "{} stored, {} refused, {} restarts, {} hung threads",
        status.acknowledged_total, status.refused_total, status.restarts_total, status.hung_threads
    );
    for (label, value) in [("memory  ", memory(status)), ("disk    ", disk(status)), ("total   ", total)] {
        lines.extend(broken(label, &value, width, Style::new()));
    }
    lines
}

fn draw_throughput(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let per_s = |second: &Second| second.received_bytes.saturating_mul(1000) / second.length_ms.max(1);
    let now = view.past.last().map_or(0, per_s);
    let instances = view.past.last().map_or(0, |second| second.acknowledged);
    let title = format!(" receiving {}/s, {instances} instances/s ", size(now));
    draw_spark(frame, area, title, view.past.iter().map(per_s), Color::Blue);
}

fn draw_response(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let last = view.past.iter().rev().find_map(|second| second.response);
    let title = last.map_or_else(
        || " response: none yet ".to_owned(),
        |last| format!(" response p50 {}, p99 {} ", duration(last.p50_us), duration(last.p99_us)),
    );
    let median = |second: &Second| second.response.map_or(0, |response| response.p50_us);
    draw_spark(frame, area, title, view.past.iter().map(median), Color::Cyan);
}

fn draw_spark(frame: &mut Frame<'_>, area: Rect, title: String, of: impl Iterator<Item = u64>, color: Color) {
    let block = Block::bordered().title(title);
    let width = usize::from(block.inner(area).width);
    let all: Vec<u64> = of.collect();
    let shown = all[all.len().saturating_sub(width)..].to_vec();
    frame.render_widget(Sparkline::default().block(block).data(shown).style(color), area);
}

fn draw_memory(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let status = &view.look.status;
    let block = Block::bordered().title(format!(" memory by stage, of a budget of {} ", size(status.budget_bytes)));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(now) = view.past.last() else { return };
    let width = u64::from(inner.width);
    let mut bar = Vec::new();
    let mut filled = 0;
    let mut used: Vec<_> = stages(&now.leased).into_iter().filter(|(_, bytes, _)| *bytes > 0).collect();
    for (_, bytes, color) in used.iter().copied() {
        // A value above 0 is never shown as an empty bar.
        let columns = (bytes * width).div_ceil(now.budget_bytes.max(1)).min(width - filled);
        filled += columns;
        bar.push(Span::styled("█".repeat(columns as usize), color));
    }
    bar.push(Span::styled("░".repeat((width - filled) as usize), Color::DarkGray));
    // The smallest stages are left out where there is no room for all: a figure is never cut.
    let words = loop {
        let words = stage_words(&used);
        if words.width() <= usize::from(inner.width) || used.is_empty() {
            break words;
        }
        let smallest = used.iter().enumerate().min_by_key(|(_, (_, bytes, _))| *bytes).map_or(0, |(index, _)| index);
        used.remove(smallest);
    };
    frame.render_widget(Paragraph::new(vec![Line::from(bar), words]), inner);
}

fn stage_words(used: &[(&'static str, u64, Color)]) -> Line<'static> {
    let words = used.iter().flat_map(|(name, bytes, color)| {
        [Span::styled("■ ", *color), Span::from(format!("{name} {}  ", size(*bytes)))]
    });
    Line::from(words.collect::<Vec<_>>())
}

fn draw_pool(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let writers = &view.look.writers;
    let title = format!(" writers; {} of {} mailbox slots in use ", writers.mailbox_depth, writers.mailbox_capacity);
    let spans = writers.writers.iter().flat_map(|writer| {
        let (color, doing) = match (writer.state.as_str(), writer.jobs) {
            ("running", 0) => (Color::DarkGray, "idle".to_owned()),
            ("running", jobs) => (Color::Green, format!("{jobs} for {}", age(writer.busy_ms))),
            (state, _) => (Color::Red, state.to_owned()),
        };
        let number = writer.name.trim_start_matches("writer-").to_owned();
        [Span::styled(format!("■ {number} "), color), Span::from(format!("{doing}  "))]
    });
    let mut line = Line::from(spans.collect::<Vec<_>>());
    let block = Block::bordered().title(title);
    if line.width() > usize::from(block.inner(area).width) {
        line = pool_sums(&writers.writers);
    }
    frame.render_widget(Paragraph::new(line).block(block), area);
}

/// The writers by what they do, where there is no room for each.
fn pool_sums(writers: &[Writer]) -> Line<'static> {
    let is_running = |writer: &&Writer| writer.state == "running";
    let busy = || writers.iter().filter(is_running).filter(|writer| writer.jobs > 0);
    let idle = writers.iter().filter(is_running).count() - busy().count();
    let mut spans = Vec::new();
    if let Some(longest_ms) = busy().map(|writer| writer.busy_ms).max() {
        spans.push(Span::styled("■ ", Color::Green));
        spans.push(Span::from(format!("{} busy, longest {}  ", busy().count(), age(longest_ms))));
    }
    spans.push(Span::styled("■ ", Color::DarkGray));
    spans.push(Span::from(format!("{idle} idle  ")));
    for writer in writers.iter().filter(|writer| writer.state != "running") {
        spans.push(Span::styled("■ ", Color::Red));
        spans.push(Span::from(format!("{} {}  ", writer.name, writer.state)));
    }
    Line::from(spans)
}

/// A column of the associations.
struct Column {
    heading: &'static str,
    width: Constraint,
    /// Shown only if the terminal has [`WIDE_COLUMNS`].
    is_extra: bool,
    text: fn(&View, &Association) -> String,
}

/// From this many columns on, every column of the associations is shown.
const WIDE_COLUMNS: u16 = 112;

const COLUMNS: [Column; 9] = {
    use Constraint::{Length, Min};
    const fn column(
        heading: &'static str,
        width: Constraint,
        is_extra: bool,
        text: fn(&View, &Association) -> String,
    ) -> Column {
        Column { heading, width, is_extra, text }
    }
    [
        column("CALLING AE", Min(16), false, |_, one| title(one)),
        column("PEER", Min(15), false, |_, one| one.peer.clone()),
        column("OPEN", Length(8), true, |_, one| age(one.age_ms)),
        column("IDLE", Length(7), false, |_, one| age(one.quiet_ms)),
        column("RATE", Length(11), false, |view, one| format!("{}/s", size(view.rate(one)))),
        column("RECEIVED", Length(10), true, |_, one| size(one.received_bytes)),
        column("HELD", Length(9), false, |_, one| size(one.held_bytes)),
        column("STORED", Length(7), false, |_, one| one.acknowledged.to_string()),
        column("REFUSED", Length(7), false, |_, one| one.refused.to_string()),
    ]
};

fn draw_associations(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let is_wide = area.width >= WIDE_COLUMNS;
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| is_wide || !column.is_extra).collect();
    // Names are aligned to the left, figures to the right.
    let cell = |index: usize, text: String| {
        let line = Line::from(text);
        Cell::from(if index < 2 { line } else { line.right_aligned() })
    };
    let rows = view.sorted().into_iter().map(|one| {
        let cells = columns.iter().enumerate().map(|(index, column)| {
            let is_alarming = column.heading == "REFUSED" && one.refused > 0;
            cell(index, (column.text)(view, one)).style(if is_alarming {
                Style::from(Color::Red)
            } else {
                Style::new()
            })
        });
        Row::new(cells.collect::<Vec<_>>())
    });
    let name = format!(
        " {} of {} associations, by {} ",
        view.look.associations.len(),
        view.look.status.associations_max,
        view.sort.name()
    );
    let heading = columns.iter().enumerate().map(|(index, column)| cell(index, column.heading.to_owned()));
    let table = Table::new(rows, columns.iter().map(|column| column.width))
        .header(Row::new(heading).bold())
        .row_highlight_style(Modifier::REVERSED)
        .block(Block::bordered().title(name));
    let mut state = TableState::new().with_selected(view.chosen_row());
    frame.render_stateful_widget(table, area, &mut state);
}

fn foot_lines(view: &View, width: usize) -> Vec<Line<'static>> {
    if let Some(id) = view.confirming {
        let question = format!("abort association {id}? its unfinished dataset is dropped. y: yes, any other key: no");
        return broken("", &question, width, Style::new().bg(Color::Red).fg(Color::White));
    }
    match view.notice.as_str() {
        "" => broken("", "q quit  ↑↓ select  a abort  s sort", width, Color::DarkGray),
        notice => broken("", notice, width, Color::Yellow),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use std::time::Duration;

    use super::*;
    use crate::cli::ask_error::{AskError, Found};
    use crate::cli::sample;
    use crate::cli::top::Look;

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        terminal.backend().to_string()
    }

    fn view() -> View {
        let look = Look { status: sample::status(), associations: sample::associations(), writers: sample::writers() };
        View::new((1..=50).map(sample::second).collect(), look)
    }

    #[test]
    fn a_frame_shows_the_node_and_nothing_a_peer_said_acts_on_the_terminal() {
        let text = screen(&view(), 120, 32);
        for shown in [
            "GATEWAY: tidegate 0.1.0",
            "failing: space",
            "receiving 24.0 MiB/s",
            "response p50 6.2 ms",
            "budget of 512.0 MiB",
            "queued 10.0 MiB",
            "5 of 64 mailbox slots",
            "3 of 512 associations, by memory held",
            "CT_ROOM_1",
            "MR\\u{1b}[2J",
            "q quit",
        ] {
            assert!(text.contains(shown), "{shown} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
        assert!(text.find("MR").unwrap() < text.find("CT_ROOM_1").unwrap(), "who holds most comes first");
    }

    #[test]
    fn a_small_terminal_shows_whole_figures() {
        let mut view = view();
        for writer in &mut view.look.writers.writers {
            writer.name = format!("{}-of-a-long-name", writer.name);
        }
        for one in &mut view.look.associations {
            (one.acknowledged, one.refused, one.quiet_ms) = (9_999_999, 1_234_567, 86_399_000);
        }
        let text = screen(&view, 80, 24);
        for shown in [
            "9999999",
            "1234567",
            "23h 59m",
            "IDLE",
            "RATE",
            "HELD",
            "STORED",
            "REFUSED",
            "idle  ",
            "1200000 inodes free",
        ] {
            assert!(text.contains(shown), "{shown} is not in\n{text}");
        }
        for cut in ["RECEIVED", "OPEN"] {
            assert!(!text.contains(cut), "{cut} is in\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_shows_all_of_why_the_node_does_not_answer() {
        let mut view = view();
        let found = Found::Process { id: 7, threads: 20, stopped: 20, in_disk: 0 };
        view.note(AskError::TooLate { timeout: Duration::from_secs(1), found }.to_string());
        let text = screen(&view, 80, 24);
        for shown in ["did not answer within 1s", "process 7 is stopped", "`kill -CONT 7` continues it", "CT_ROOM_1"] {
            assert!(text.contains(shown), "{shown} is not in\n{text}");
        }
    }

    #[test]
    fn it_fits_whatever_terminal_there_is_and_asks_before_it_aborts() {
        let mut view = view();
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 90)] {
            screen(&view, width, height);
        }
        view.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
        view.press(KeyEvent::new(KeyCode::Char('a'), KeyModifiers::NONE));
        assert!(screen(&view, 100, 30).contains("abort association 7?"));
    }
}
