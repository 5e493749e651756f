//! The frame of `top`: sums, throughput and response of the last minutes, memory by stage against the budget, writers, associations.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use super::view::View;
use crate::admin::model::{Leased, Second};
use crate::cli::look::{disk, headline, memory, title};
use crate::cli::text::{age, duration, size};

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
    let [head, charts, stages, pool, list, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(6),
        Constraint::Length(4),
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(sums(view), head);
    let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(charts);
    draw_throughput(frame, view, left);
    draw_response(frame, view, right);
    draw_memory(frame, view, stages);
    draw_pool(frame, view, pool);
    draw_associations(frame, view, list);
    frame.render_widget(foot_line(view), foot);
}

fn sums(view: &View) -> Paragraph<'static> {
    let status = &view.look.status;
    let mood = if status.readiness.ready { Color::Green } else { Color::Red };
    let failing: Vec<_> =
        status.readiness.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    let failing = if failing.is_empty() { String::new() } else { format!("  failing: {}", failing.join(", ")) };
    Paragraph::new(vec![
        Line::from(vec![
            Span::styled("● ", mood),
            Span::from(headline(status)).bold(),
            Span::styled(failing, Color::Red),
        ]),
        Line::from(format!("memory  {}", memory(status))),
        Line::from(format!("disk    {}", disk(status))),
        Line::from(format!(
            "total   {} stored, {} refused, {} restarts, {} hung threads",
            status.acknowledged_total, status.refused_total, status.restarts_total, status.hung_threads
        )),
    ])
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
    let mut words = Vec::new();
    let mut filled = 0;
    for (name, bytes, color) in stages(&now.leased).into_iter().filter(|(_, bytes, _)| *bytes > 0) {
        // A value above 0 is never shown as an empty bar.
        let columns = (bytes * width).div_ceil(now.budget_bytes.max(1)).min(width - filled);
        filled += columns;
        bar.push(Span::styled("█".repeat(columns as usize), color));
        words.push(Span::styled("■ ", color));
        words.push(Span::from(format!("{name} {}  ", size(bytes))));
    }
    bar.push(Span::styled("░".repeat((width - filled) as usize), Color::DarkGray));
    frame.render_widget(Paragraph::new(vec![Line::from(bar), Line::from(words)]), inner);
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
    let line = Line::from(spans.collect::<Vec<_>>());
    frame.render_widget(Paragraph::new(line).block(Block::bordered().title(title)), area);
}

fn draw_associations(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let heading = ["CALLING AE", "PEER", "OPEN", "IDLE", "RATE", "RECEIVED", "HELD", "STORED", "REFUSED"];
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let rows = view.sorted().into_iter().map(|one| {
        let refused = if one.refused > 0 { Style::from(Color::Red) } else { Style::new() };
        Row::new([
            Cell::from(title(one)),
            Cell::from(one.peer.clone()),
            right(age(one.age_ms)),
            right(age(one.quiet_ms)),
            right(format!("{}/s", size(view.rate(one)))),
            right(size(one.received_bytes)),
            right(size(one.held_bytes)),
            right(one.acknowledged.to_string()),
            right(one.refused.to_string()).style(refused),
        ])
    });
    let widths = [
        Constraint::Min(16),
        Constraint::Min(21),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    let name = format!(
        " {} of {} associations, by {} ",
        view.look.associations.len(),
        view.look.status.associations_max,
        view.sort.name()
    );
    let cells = heading.iter().enumerate().map(|(column, name)| {
        let line = Line::from(*name);
        Cell::from(if column < 2 { line } else { line.right_aligned() })
    });
    let table = Table::new(rows, widths)
        .header(Row::new(cells).bold())
        .row_highlight_style(Modifier::REVERSED)
        .block(Block::bordered().title(name));
    let mut state = TableState::new().with_selected(view.chosen_row());
    frame.render_stateful_widget(table, area, &mut state);
}

fn foot_line(view: &View) -> Line<'static> {
    if let Some(id) = view.confirming {
        return Line::from(format!(
            "abort association {id}? its unfinished dataset is dropped. y: yes, any other key: no"
        ))
        .style(Style::new().bg(Color::Red).fg(Color::White));
    }
    if !view.notice.is_empty() {
        return Line::from(view.notice.clone()).style(Color::Yellow);
    }
    Line::from("q quit  ↑↓ select  a abort  s sort").style(Color::DarkGray)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;
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
