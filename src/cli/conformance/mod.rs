//! `conformance`: the DICOM Conformance Statement of this configuration, in the structure of PS3.2 annex N. It derives from the settings
//! and from the tables that the node works by. `docs/conformance.md` is the statement of the defaults.

mod commitment;
mod delivery;
mod page;
mod statement;

use page::Subject;

use super::{Exit, output};
use crate::config::Settings;

/// Prints the statement, as Markdown.
pub(super) fn print(settings: &Settings) -> Exit {
    output::print(&of(settings))
}

fn of(settings: &Settings) -> String {
    let live = &settings.node.live;
    statement::write(&Subject { settings, live, policy: &live.associations.policy })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Environment, Flags};

    fn with(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.toml");
        std::fs::write(&file, text).unwrap();
        of(&config::load(Some(&file), Environment::default(), &Flags::default()).unwrap().settings)
    }

    #[test]
    fn the_document_is_what_is_printed_for_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
        let document = with("");
        if std::fs::read_to_string(&path).unwrap_or_default() != document {
            std::fs::write(&path, document).unwrap();
            panic!("{} was not up to date and has been written anew: look at it, and commit it", path.display());
        }
    }

    #[test]
    fn the_statement_follows_the_configuration() {
        let text = with(
            "[node]\nae_title = 'OTHER|AE'\nrequire_called_ae_title = true\n\
             [associations]\nmax = 7\nmax_per_address = 3\nidle_timeout = '45s'\naccept_unknown_sop_classes = false\n\
             transfer_syntax_preference = ['1.2.840.10008.1.2.4.90']\n[storage]\nduplicates = 'refuse'\n",
        );
        for said in [
            "`OTHER\\|AE`",
            "calls another AE title is rejected",
            "| 7; 3 from one address |",
            "| 45s |",
            "newer than this release, is not accepted;",
            "(`storage.duplicates` is `refuse`)",
            "best first: `1.2.840.10008.1.2.4.90`",
        ] {
            assert!(text.contains(said), "{said}");
        }
    }

    #[test]
    fn a_node_with_destinations_is_an_scu() {
        let text = with(
            "[[destination]]\nname = 'archive'\nkind = 'dicom'\naddress = '10.0.0.5:104'\ncalled = 'ARCHIVE'\ncommit = true\n",
        );
        for said in [
            "(annex A) | yes | yes |",
            "Push Model | yes | yes |",
            "### 5.4 Storage service as SCU\n\nInstances are sent",
            "each of 1 destinations",
            "commit = true",
        ] {
            assert!(text.contains(said), "{said}");
        }
        assert!(with("").contains("(annex A) |  | yes |"));
    }
}
