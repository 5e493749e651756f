//! A page of HTML that needs no other file and no network: it can be mailed, archived and opened in ten years.

use std::fmt::Write;

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Plot, Table, escape, utc};

const STYLE: &str = include_str!("page.css");

/// How a verdict looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    /// Neither the one nor the other is known.
    Open,
}

/// A page in the making.
#[derive(Debug)]
pub(crate) struct Page {
    title: String,
    body: String,
}

impl Page {
    /// With the command and the date under the lead, so that it can be made again.
    pub(crate) fn of_command(title: &str, lead: &str) -> Self {
        let mut page = Self::new(title, lead);
        let command: Vec<String> = std::env::args().collect();
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let _ =
            write!(page.body, "<p class=\"lead\"><code>{}</code><br>{}</p>", escape(&command.join(" ")), utc(now_ms));
        page
    }

    /// `lead` stands below the title and says what was measured.
    pub(crate) fn new(title: &str, lead: &str) -> Self {
        let body = format!("<header><h1>{}</h1><p class=\"lead\">{}</p></header>", escape(title), escape(lead));
        Self { title: title.to_owned(), body }
    }

    /// The answer, before everything else.
    pub(crate) fn verdict(&mut self, tone: Tone, words: &str) {
        let class = match tone {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Open => "open",
        };
        let _ = write!(self.body, "<p class=\"verdict {class}\">{}</p>", escape(words));
    }

    /// The few figures that matter most: each a figure and what it is.
    pub(crate) fn tiles(&mut self, tiles: &[(String, &str)]) {
        self.body.push_str("<div class=\"tiles\">");
        for (figure, name) in tiles {
            let _ =
                write!(self.body, "<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(figure), escape(name));
        }
        self.body.push_str("</div>");
    }

    pub(crate) fn heading(&mut self, heading: &str) {
        let _ = write!(self.body, "<h2>{}</h2>", escape(heading));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        let _ = write!(self.body, "<p>{}</p>", escape(text));
    }

    /// Caveats for the reader.
    pub(crate) fn careful(&mut self, text: &str) {
        let _ = write!(self.body, "<p class=\"careful\">{}</p>", escape(text));
    }

    /// A heading with plots side by side where there is room; nothing when there is nothing to draw.
    pub(crate) fn plots(&mut self, heading: &str, plots: &[Plot]) {
        let drawn: String = plots.iter().map(Plot::html).collect();
        if !drawn.is_empty() {
            self.heading(heading);
            let _ = write!(self.body, "<div class=\"plots\">{drawn}</div>");
        }
    }

    /// A table; nothing when it has no rows.
    pub(crate) fn table(&mut self, heading: &str, table: &Table) {
        if !table.is_empty() {
            self.heading(heading);
            self.body.push_str(&table.html());
        }
    }

    /// Names and what they are.
    pub(crate) fn facts(&mut self, heading: &str, facts: &[(&str, String)]) {
        self.heading(heading);
        self.body.push_str("<dl>");
        for (name, fact) in facts {
            let _ = write!(self.body, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(fact));
        }
        self.body.push_str("</dl>");
    }

    /// Lines to copy.
    pub(crate) fn lines(&mut self, heading: &str, text: &str) {
        self.heading(heading);
        let _ = write!(self.body, "<pre>{}</pre>", escape(text));
    }

    /// Text that is HTML already.
    pub(crate) fn markup(&mut self, heading: &str, html: &str) {
        self.heading(heading);
        self.body.push_str(html);
    }

    pub(crate) fn finish(self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{}</title><style>\n{STYLE}</style></head>\n\
             <body>{}</body></html>\n",
            escape(&self.title),
            self.body
        )
    }
}
