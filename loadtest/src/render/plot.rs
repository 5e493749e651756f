//! Plots as inline SVG. Only what stretches is SVG; what is read stands beside it as HTML, so that letters keep their size on every screen.

use std::fmt::Write;

use super::escape;
use super::scale::{Axis, Scale};

/// More points than a screen has columns would only blacken it.
const MAX_POINTS: usize = 800;
/// The drawing's own size; it is stretched to what there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 300.0;

/// How the values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Lines,
    /// Each on top of the one before.
    Stacked,
    /// Points, joined by nothing.
    Dots,
}

/// One line, area or set of points.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A plot with its axes.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    /// The meaning, in a sentence.
    pub(crate) note: String,
    pub(crate) shape: Shape,
    pub(crate) x: Scale,
    pub(crate) x_label: &'static str,
    pub(crate) y: Scale,
    pub(crate) lines: Vec<Line>,
    /// Places on the x axis that have a name.
    pub(crate) marks: Vec<(f64, String)>,
}

impl Line {
    pub(crate) fn new(label: &str, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { label: label.to_owned(), points: points.into_iter().collect() }
    }
}

impl Plot {
    pub(crate) fn over_time(title: &str, note: &str, y: Scale, lines: Vec<Line>) -> Self {
        let (title, note) = (title.to_owned(), note.to_owned());
        Self {
            title,
            note,
            shape: Shape::Lines,
            x: Scale::Seconds,
            x_label: "since the start",
            y,
            lines,
            marks: Vec::new(),
        }
    }

    /// A figure of HTML; nothing when there is nothing to draw.
    pub(crate) fn html(&self) -> String {
        let lines: Vec<&[(f64, f64)]> = self.lines.iter().map(|line| &line.points[..]).collect();
        if lines.iter().all(|points| points.is_empty()) {
            return String::new();
        }
        let drawn = if self.shape == Shape::Stacked {
            stacked(&lines)
        } else {
            lines.iter().map(|points| points.to_vec()).collect()
        };
        let drawn: Vec<_> = drawn.iter().map(|points| thinned(points)).collect();
        let points = || drawn.iter().flatten().copied();
        let x = self.x.over(points().map(|(x, _)| x));
        let y = self.y.over(points().map(|(_, y)| y));
        let mut html = format!("<figure class=\"plot\"><figcaption><h3>{}</h3>", escape(&self.title));
        if !self.note.is_empty() {
            let _ = write!(html, "<p>{}</p>", escape(&self.note));
        }
        if self.lines.len() > 1 {
            html.push_str("<ul class=\"legend\">");
            for (index, line) in self.lines.iter().enumerate() {
                let _ = write!(html, "<li class=\"c{index}\">{}</li>", escape(&line.label));
            }
            html.push_str("</ul>");
        }
        let _ = write!(html, "</figcaption><div class=\"frame\">{}<div class=\"area\">", y_names(&y));
        html.push_str(&self.svg(&drawn, &x, &y));
        for (value, name) in &self.marks {
            let _ = write!(
                html,
                "<span class=\"mark\" style=\"left:{:.2}%\">{}</span>",
                100.0 * x.place(*value),
                escape(name)
            );
        }
        let _ = write!(html, "</div>{}</div><p class=\"x-label\">{}</p></figure>", x_names(&x), escape(self.x_label));
        html
    }

    fn svg(&self, lines: &[Vec<(f64, f64)>], x: &Axis, y: &Axis) -> String {
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
            escape(&self.summary(y))
        );
        for (value, _) in y.ticks() {
            let _ = write!(svg, "<path class=\"grid\" d=\"M0 {:.1}H{WIDTH}\"/>", up(y, value));
        }
        for (value, _) in &self.marks {
            let _ = write!(svg, "<path class=\"mark\" d=\"M{:.1} 0V{HEIGHT}\"/>", along(x, *value));
        }
        // The first is drawn last, on top of the others.
        for (index, points) in lines.iter().enumerate().rev() {
            let _ = match self.shape {
                Shape::Lines => write!(svg, "<path class=\"line c{index}\" d=\"{}\"/>", trace(points, x, y)),
                Shape::Dots => write!(svg, "<path class=\"dot c{index}\" d=\"{}\"/>", dots(points, x, y)),
                Shape::Stacked => {
                    let (first, last) = (points.first().map_or(0.0, |p| p.0), points.last().map_or(0.0, |p| p.0));
                    let (first, last) = (along(x, first), along(x, last));
                    let trace = trace(points, x, y);
                    write!(svg, "<path class=\"fill c{index}\" d=\"{trace}L{last:.1} {HEIGHT}L{first:.1} {HEIGHT}Z\"/>")
                }
            };
        }
        svg.push_str("</svg>");
        svg
    }

    /// The content of the plot as text, for screen readers.
    fn summary(&self, y: &Axis) -> String {
        let lines = self.lines.iter().map(|line| {
            let values = || line.points.iter().map(|(_, value)| *value);
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
            format!("{} from {} to {}", line.label, y.name(low), y.name(high))
        });
        format!("{}: {}", self.title, lines.collect::<Vec<_>>().join("; "))
    }
}

/// So few points that each can be seen; a bucket shows its highest, since a peak that is smoothed away is a lie.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let bucket = points.len().div_ceil(MAX_POINTS).max(1);
    points.chunks(bucket).filter_map(|bucket| bucket.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))).collect()
}

fn along(axis: &Axis, value: f64) -> f64 {
    axis.place(value) * WIDTH
}

fn up(axis: &Axis, value: f64) -> f64 {
    (1.0 - axis.place(value)) * HEIGHT
}

/// The lines summed up, the last of them the highest.
fn stacked(lines: &[&[(f64, f64)]]) -> Vec<Vec<(f64, f64)>> {
    let mut sums: Vec<f64> = Vec::new();
    lines
        .iter()
        .map(|line| {
            sums.resize(sums.len().max(line.len()), 0.0);
            let add = |((x, value), sum): (&(f64, f64), &mut f64)| {
                *sum += value;
                (*x, *sum)
            };
            line.iter().zip(&mut sums).map(add).collect()
        })
        .collect()
}

/// A line that is broken where there is no value.
fn trace(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let mut path = String::new();
    let mut pen_down = false;
    for (at, value) in points {
        if value.is_finite() {
            let _ = write!(path, "{}{:.1} {:.1}", if pen_down { 'L' } else { 'M' }, along(x, *at), up(y, *value));
        }
        pen_down = value.is_finite();
    }
    path
}

/// Strokes of no length: their round ends stay round when the picture is stretched.
fn dots(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    points.iter().map(|(at, value)| format!("M{:.1} {:.1}h0", along(x, *at), up(y, *value))).collect()
}

fn y_names(axis: &Axis) -> String {
    let name = |(value, name): (f64, String)| {
        format!("<span style=\"bottom:{:.2}%\">{}</span>", 100.0 * axis.place(value), escape(&name))
    };
    let ticks = axis.ticks();
    // The longest name, unseen, gives the column its width.
    let longest =
        ticks.iter().map(|(_, name)| name).max_by_key(|name| name.chars().count()).cloned().unwrap_or_default();
    let names: String = ticks.into_iter().map(name).collect();
    format!("<div class=\"y\"><i>{}</i>{names}</div>", escape(&longest))
}

fn x_names(axis: &Axis) -> String {
    let name = |(value, name): (f64, String)| {
        format!("<span style=\"left:{:.2}%\">{}</span>", 100.0 * axis.place(value), escape(&name))
    };
    format!("<div class=\"x\">{}</div>", axis.ticks().into_iter().map(name).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(shape: Shape, lines: Vec<Line>) -> Plot {
        Plot { shape, ..Plot::over_time("Rate <1>", "", Scale::Number, lines) }
    }

    #[test]
    fn a_line_starts_low_on_the_left_and_ends_high_on_the_right() {
        let html = plot(Shape::Lines, vec![Line::new("a", [(0.0, 0.0), (10.0, 100.0)])]).html();
        assert!(html.contains("d=\"M0.0 300.0L1000.0 0.0\""), "{html}");
        assert!(html.contains("Rate &lt;1&gt;: a from 0 to 100") && !html.contains("legend"), "{html}");
    }

    #[test]
    fn what_was_not_measured_breaks_the_line_and_nothing_at_all_is_no_plot() {
        let html = plot(Shape::Lines, vec![Line::new("a", [(0.0, 1.0), (1.0, f64::NAN), (2.0, 1.0)])]).html();
        assert!(html.contains("d=\"M0.0 0.0M1000.0 0.0\""), "{html}");
        assert_eq!(plot(Shape::Lines, vec![Line::new("a", [])]).html(), "");
    }

    #[test]
    fn areas_stand_on_one_another() {
        let lines: [&[_]; 2] = [&[(0.0, 1.0), (1.0, 2.0)], &[(0.0, 10.0), (1.0, 20.0)]];
        assert_eq!(stacked(&lines)[1], [(0.0, 11.0), (1.0, 22.0)]);
    }

    #[test]
    fn a_long_run_is_thinned_and_keeps_its_peak() {
        let mut points: Vec<_> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[77_777].1 = 99.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= MAX_POINTS && thinned.iter().any(|(x, y)| (*x, *y) == (77_777.0, 99.0)));
    }
}
