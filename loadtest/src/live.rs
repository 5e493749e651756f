//! The display of a run in progress: a screen that is drawn once a second, or a line on stderr where there is no terminal.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use ratatui::DefaultTerminal;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};

use crate::plan::Plan;
use crate::result::Second;

/// Seconds that the curves go back.
const SECONDS: usize = 240;

/// Shows each second as it is closed; drops back to the ordinary terminal when it is dropped.
pub(crate) struct View {
    terminal: Option<DefaultTerminal>,
    quiet: bool,
    screen: Screen,
    stop: Arc<AtomicBool>,
}

impl View {
    /// A screen when `in_terminal` and the terminal can be had, otherwise lines.
    pub(crate) fn new(in_terminal: bool, plan: &Plan) -> Self {
        let title = format!("{} → {}", plan.scenario.name, plan.target);
        let terminal = if in_terminal { ratatui::try_init().ok() } else { None };
        Self { terminal, quiet: false, screen: Screen::new(title), stop: Arc::clone(&plan.stop) }
    }

    pub(crate) fn show(&mut self, second: &Second) {
        self.screen.add(second);
        let Some(terminal) = &mut self.terminal else {
            if !self.quiet {
                eprintln!("{}", line(second));
            }
            return;
        };
        // A terminal that is gone takes nothing from the measurement.
        self.quiet |= terminal.draw(|frame| self.screen.draw(frame)).is_err();
        if asked_to_stop().unwrap_or(false) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.terminal.take().is_some() {
            ratatui::restore();
        }
    }
}

/// Whether q, Escape or Ctrl-C was pressed; the terminal hands them on instead of a signal.
fn asked_to_stop() -> io::Result<bool> {
    let mut asked = false;
    while event::poll(Duration::ZERO)? {
        if let Event::Key(KeyEvent { code, modifiers, .. }) = event::read()? {
            let interrupt = code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL);
            asked |= interrupt || matches!(code, KeyCode::Char('q') | KeyCode::Esc);
        }
    }
    Ok(asked)
}

/// One second as a line.
fn line(second: &Second) -> String {
    let mut text = format!(
        "{:6.0} s {:8} instances {:>12} p50 {:9.1} ms p99 {:9.1} ms failed {:5} associations {:4}",
        second.t_s,
        second.acknowledged,
        bytes(second.bytes),
        second.p50_ms,
        second.p99_ms,
        second.failed,
        second.associations,
    );
    if second.backlog > 0 {
        text.push_str(&format!(" backlog {}", second.backlog));
    }
    if let Some(target) = &second.target {
        text.push_str(&format!(" RSS {}", bytes(target.rss_bytes)));
    }
    text
}

fn bytes(count: u64) -> String {
    ByteSize::b(count).display().iec().to_string()
}

/// The state of the screen.
#[derive(Debug, Default)]
struct Screen {
    title: String,
    seconds: VecDeque<Second>,
    acknowledged: u64,
    bytes: u64,
    failed: u64,
}

/// A curve: its name, its last value in words, and what is drawn.
type Curve = (&'static str, String, fn(&Second) -> u64);

impl Screen {
    fn new(title: String) -> Self {
        Self { title, ..Self::default() }
    }

    fn add(&mut self, second: &Second) {
        self.acknowledged += second.acknowledged;
        self.bytes += second.bytes;
        self.failed += second.failed;
        if self.seconds.len() == SECONDS {
            self.seconds.pop_front();
        }
        self.seconds.push_back(second.clone());
    }

    fn curves(&self) -> Vec<Curve> {
        let Some(last) = self.seconds.back() else {
            return Vec::new();
        };
        let mut curves: Vec<Curve> = vec![
            ("instances/s", last.acknowledged.to_string(), |second| second.acknowledged),
            ("bytes/s", bytes(last.bytes), |second| second.bytes),
            ("latency p99", format!("{:.1} ms (p50 {:.1})", last.p99_ms, last.p50_ms), |second| {
                (second.p99_ms * 1000.0) as u64
            }),
        ];
        if self.seconds.iter().any(|second| second.failed > 0) {
            curves.push(("failed/s", last.failed.to_string(), |second| second.failed));
        }
        if self.seconds.iter().any(|second| second.backlog > 0) {
            curves.push(("backlog", last.backlog.to_string(), |second| second.backlog));
        }
        if let Some(target) = &last.target {
            curves.push(("target's memory", bytes(target.rss_bytes), |second| {
                second.target.as_ref().map_or(0, |target| target.rss_bytes)
            }));
            if let Some(leased) = target.leased_bytes {
                curves.push(("leased", bytes(leased), |second| {
                    second.target.as_ref().and_then(|target| target.leased_bytes).unwrap_or_default()
                }));
            }
            if let Some(depth) = target.mailbox_depth {
                curves.push(("mailbox depth", depth.to_string(), |second| {
                    second.target.as_ref().and_then(|target| target.mailbox_depth).unwrap_or_default()
                }));
            }
        }
        curves
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let curves = self.curves();
        let heights = curves.iter().map(|_| Constraint::Fill(1));
        let rows = Layout::vertical([Constraint::Length(2)].into_iter().chain(heights)).split(frame.area());
        let (Some(&head), rest) = (rows.first(), rows.get(1..).unwrap_or_default()) else {
            return;
        };
        frame.render_widget(Paragraph::new(self.head()), head);
        for (&area, curve) in rest.iter().zip(&curves) {
            self.draw_curve(frame, area, curve);
        }
    }

    fn head(&self) -> Vec<Line<'_>> {
        let (t_s, associations) = self.seconds.back().map_or((0.0, 0), |last| (last.t_s, last.associations));
        let failed = Span::raw(format!("{} failed", self.failed));
        let failed = if self.failed > 0 { failed.red().bold() } else { failed.dim() };
        vec![
            Line::from(vec![
                Span::raw(&self.title).bold(),
                Span::raw(format!("  {t_s:.0} s  {associations} associations  ")),
                Span::raw("q ends the load").dim(),
            ]),
            Line::from(vec![Span::raw(format!("{} acknowledged, {}, ", self.acknowledged, bytes(self.bytes))), failed]),
        ]
    }

    fn draw_curve(&self, frame: &mut Frame<'_>, area: Rect, (name, value, of): &Curve) {
        let shown = usize::from(area.width);
        let skipped = self.seconds.len().saturating_sub(shown);
        let data: Vec<u64> = self.seconds.iter().skip(skipped).map(of).collect();
        let title = Line::from(vec![Span::raw(*name).dim(), Span::raw(format!(" {value}")).bold()]);
        let curve = Sparkline::default().block(Block::new().title(title)).data(data).style(Style::new().cyan());
        frame.render_widget(curve, area);
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::result::TargetSample;

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn second(acknowledged: u64) -> Second {
        let target = TargetSample { rss_bytes: 64 << 20, mailbox_depth: Some(7), ..TargetSample::default() };
        Second { t_s: 3.0, acknowledged, bytes: 5 << 20, p99_ms: 12.5, target: Some(target), ..Second::default() }
    }

    #[test]
    fn the_screen_shows_rates_latency_and_the_target() {
        let mut screen = Screen::new("ct → pacs:104".into());
        (1..=300).for_each(|count| screen.add(&second(count)));
        let text = drawn(&screen, 80, 24);
        for expected in
            ["ct → pacs:104", "instances/s 300", "latency p99 12.5 ms", "memory 64.0 MiB", "mailbox depth 7"]
        {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        assert!(!text.contains("backlog"), "{text}");
        assert_eq!(screen.seconds.len(), SECONDS);
    }

    #[test]
    fn a_screen_of_nothing_and_a_screen_too_small_are_drawn() {
        drawn(&Screen::default(), 80, 24);
        let mut screen = Screen::new("ct".into());
        screen.add(&second(1));
        drawn(&screen, 3, 2);
    }

    #[test]
    fn the_line_without_a_terminal_says_the_same() {
        let text = line(&Second { backlog: 9, failed: 2, ..second(41) });
        for expected in ["41 instances", "5.0 MiB", "failed     2", "backlog 9", "RSS 64.0 MiB"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
