//! The dashboard: a page, its style, its scripts and its icon, all in the binary.

use actix_web::{HttpResponse, Route, web};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the dashboard.
pub(super) struct File {
    pub(super) path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

/// The files. They contain no figures and name nobody, so everybody may read them.
pub(super) const FILES: [File; 13] = [
    File::new("/", "text/html; charset=utf-8", include_str!("dashboard/index.html")),
    File::new("/style.css", "text/css; charset=utf-8", include_str!("dashboard/style.css")),
    File::new("/app.js", SCRIPT, include_str!("dashboard/app.js")),
    File::new("/core.js", SCRIPT, include_str!("dashboard/core.js")),
    File::new("/catalogue.js", SCRIPT, include_str!("dashboard/catalogue.js")),
    File::new("/commitments.js", SCRIPT, include_str!("dashboard/commitments.js")),
    File::new("/deliveries.js", SCRIPT, include_str!("dashboard/deliveries.js")),
    File::new("/node.js", SCRIPT, include_str!("dashboard/node.js")),
    File::new("/outbox.js", SCRIPT, include_str!("dashboard/outbox.js")),
    File::new("/sinks.js", SCRIPT, include_str!("dashboard/sinks.js")),
    File::new("/studies.js", SCRIPT, include_str!("dashboard/studies.js")),
    File::new("/study.js", SCRIPT, include_str!("dashboard/study.js")),
    File::new("/icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
];

impl File {
    const fn new(path: &'static str, content_type: &'static str, content: &'static str) -> Self {
        Self { path, content_type, content }
    }

    pub(super) fn route(&self) -> Route {
        let Self { content_type, content, .. } = *self;
        web::get().to(move || async move { HttpResponse::Ok().content_type(content_type).body(content) })
    }
}

/// Whether a file of the dashboard has that path.
pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A peer's string must never become markup, and the content security policy allows nothing from elsewhere.
    #[test]
    fn the_page_has_no_way_to_make_markup_of_text_and_asks_nobody_else() {
        for File { path, content: script, .. } in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            let code =
                script.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "http:"]
            {
                assert!(!code.replace("http://www.w3.org/2000/svg", "").contains(way), "{path}: {way}");
            }
        }
        for way in ["http:", "https:", " style=", " onclick=", "<style", "javascript:"] {
            assert!(!FILES[0].content.contains(way), "{way}");
        }
    }

    #[test]
    fn every_script_is_served_and_asked_for() {
        let imported = |script: &str| {
            let lines: Vec<_> = script.lines().filter_map(|line| line.split_once(" from \"./")).collect();
            lines.into_iter().map(|(_, name)| format!("/{}", name.trim_end_matches("\";"))).collect::<BTreeSet<_>>()
        };
        let scripts: Vec<_> = FILES.iter().filter(|file| file.content_type == SCRIPT).collect();
        let mut asked: BTreeSet<_> = scripts.iter().flat_map(|file| imported(file.content)).collect();
        assert!(FILES[0].content.contains("src=\"app.js\""));
        asked.insert("/app.js".to_owned());
        assert_eq!(asked, scripts.iter().map(|file| file.path.to_owned()).collect());
    }
}
