//! The load of a run, printed instead of sent.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Table, bytes, rate};
use crate::catalogue::{Catalogue, Template};

/// For the terminal: the load, each kind of study, who the patients are, and what becomes of one's own files.
pub(crate) fn dry_run(load: &str, scenario: &str, catalogue: &Catalogue) -> String {
    let mut table = Table::new(&["kind", "of the studies", "datasets", "size", "SOP classes", "transfer syntaxes"]);
    for (index, kind) in catalogue.kinds.iter().enumerate() {
        let templates: Vec<&Template> = catalogue.templates.iter().filter(|template| template.kind == index).collect();
        let sizes = || templates.iter().map(|template| template.dataset.len());
        let (low, high) = (sizes().min().unwrap_or_default(), sizes().max().unwrap_or_default());
        let size =
            if low == high { bytes(low as f64) } else { format!("{} – {}", bytes(low as f64), bytes(high as f64)) };
        let listed = |of: fn(&Template) -> &String| {
            let all: BTreeSet<&str> = templates.iter().map(|template| of(template).as_str()).collect();
            all.into_iter().collect::<Vec<_>>().join(" ")
        };
        table.row([
            kind.name.clone(),
            format!("{} %", rate(100.0 * kind.weight as f64 / catalogue.weight.max(1) as f64)),
            templates.len().to_string(),
            size,
            listed(|template| &template.dataset.sop_class),
            listed(|template| &template.dataset.transfer_syntax),
        ]);
    }
    let mut text = format!("{scenario}: {load}\n\n{}\n", table.text());
    for note in &catalogue.notes {
        let _ = writeln!(text, "{note}");
    }
    text.push_str(
        "Generated patients are Load^Test, with IDs that begin with LT. Study, series and instances get new UIDs below 2.25.1.\n\
         Nothing was sent.\n",
    );
    text
}
