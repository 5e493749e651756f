//! The parts of the statement about delivery: this node as the user of what its destinations offer (PS3.2 §N.5).

use tidegate_actors::DestinationSettings;

use super::page::{Subject, head, row};

/// The destinations of the configuration; none without a catalogue.
pub(super) fn destinations<'a>(subject: &Subject<'a>) -> &'a [DestinationSettings] {
    &subject.live.delivery.destinations
}

/// Whether any of them is asked to commit.
pub(super) fn asks_for_commitment(subject: &Subject<'_>) -> bool {
    destinations(subject).iter().any(|destination| destination.commits)
}

/// Whether the sources of studies are queried.
pub(super) fn queries_sources(subject: &Subject<'_>) -> bool {
    subject.live.events.asks_sources && subject.settings.node.catalogue.is_some()
}

/// How they are.
fn sources(subject: &Subject<'_>) -> &'static str {
    match queries_sources(subject) {
        true => {
            "\nWith `completeness.ask_source`, the `[[peer]]` that has sent a study is queried before the study counts as complete: Study Root Query/Retrieve \
             Information Model – FIND, at the level STUDY for Number of Study Related Instances (0020,1208), and at the levels SERIES and IMAGE, with unique keys alone, if it does not give that. \
             At most 4 peers are queried at a time, each over one association.\n"
        }
        false => "",
    }
}

/// The section of the services as SCU.
pub(super) fn services(subject: &Subject<'_>) -> String {
    if destinations(subject).is_empty() {
        let sources = sources(subject);
        return format!(
            "### 5.4 Storage service as SCU\n\nIt is not used: no `[[destination]]` is configured.\n{sources}"
        );
    }
    let commitment = match asks_for_commitment(subject) {
        true => {
            "A destination with `commit = true` is asked to commit what it has taken: N-ACTION with up to 4096 references, on the association of the \
             C-STOREs. Its report is taken on that association, or on one that it requests of this node with SCP role selection; failed references are \
             sent again. Without a report within 10 minutes the node asks again under another Transaction UID."
        }
        false => "No destination is asked for Storage Commitment.",
    };
    format!(
        "### 5.4 Storage service as SCU\n\n\
         Instances are sent as they are stored, in the order study, series, Instance Number. Each association proposes what is to be sent next: a presentation context for each SOP class and stored transfer syntax, and one with the other native syntaxes for native \
         ones. If the destination accepts only another native syntax, the dataset is re-encoded; compressed ones are not. The asynchronous operations window is proposed and used. \
         After an instance was lost with its association, or while an answer is late, an association also proposes Verification, and begins with a C-ECHO.\n\n\
         Status of the C-STORE response of a destination:\n\n\
         {statuses}\n\
         {commitment}\n\n\
         `tidegate reconcile --destination` queries a destination: Study Root Query/Retrieve Information Model – FIND, at the levels SERIES and IMAGE, with unique keys alone.\n{sources}",
        sources = sources(subject),
        statuses = head(["Status", "Becomes"])
            + &[
                ["0000, a warning (B000 to BFFF, 0001, 0107, 0116), 0111", "delivered"],
                ["A700 to A7FF, 0110, 0124, 0210 to 0213, no response", "tried again, until `retry_for`"],
                ["any other: A900 to A9FF, C000 to CFFF, 0122 …", "tried again, until `attempts`"],
            ]
            .map(row)
            .concat(),
    )
}

/// What the node does as an initiator.
pub(super) fn initiator(subject: &Subject<'_>) -> Option<String> {
    let count = destinations(subject).len();
    (count > 0).then(|| format!("as many as `connections` says to each of {count} destinations"))
}
