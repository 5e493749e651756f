use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn origin() -> Origin {
    Origin { ae_title: "TIDEGATE".to_owned(), host: "gateway".to_owned(), process_id: 7 }
}

fn message(event: AuditEvent) -> String {
    xml(&AuditRecord { at: UNIX_EPOCH + Duration::from_millis(1_234), event, count: 1 }, &origin())
}

fn study() -> AuditStudy {
    AuditStudy {
        uid: "1.2.3".to_owned(),
        patient_id: "P1".to_owned(),
        sop_classes: vec![("1.2.840.10008.5.1.4.1.1.2".to_owned(), 5)],
    }
}

#[test]
fn a_transfer_names_both_ends_the_study_and_the_patient() {
    let peer = AuditPeer {
        address: "192.0.2.7:4711".parse().unwrap(),
        ae_title: "CT1".to_owned(),
        certificate: String::new(),
    };
    let message = message(AuditEvent::Transferred { peer, study: study(), refused: 2 });
    for part in [
        r#"EventActionCode="C" EventDateTime="1970-01-01T00:00:01.234Z" EventOutcomeIndicator="4""#,
        r#"<EventID csd-code="110104" codeSystemName="DCM" originalText="DICOM Instances Transferred"/>"#,
        r#"UserID="CT1" AlternativeUserID="AETITLES=CT1" UserIsRequestor="true" NetworkAccessPointID="192.0.2.7""#,
        r#"<AuditSourceIdentification AuditSourceID="TIDEGATE@gateway">"#,
        r#"ParticipantObjectID="1.2.3" ParticipantObjectTypeCode="2" ParticipantObjectTypeCodeRole="3""#,
        r#"<ParticipantObjectDescription><SOPClass UID="1.2.840.10008.5.1.4.1.1.2" NumberOfInstances="5"/></Part"#,
        r#"ParticipantObjectID="P1" ParticipantObjectTypeCode="1" ParticipantObjectTypeCodeRole="1""#,
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
}

/// PS3.15 §A.5.3.7: this node is the source and the requestor, and the destination is neither.
#[test]
fn a_delivery_names_this_node_as_the_source_and_what_failed() {
    let peer = AuditPeer {
        address: "192.0.2.7:104".parse().unwrap(),
        ae_title: "ARCHIVE".to_owned(),
        certificate: String::new(),
    };
    let began = message(AuditEvent::DeliveryBegan { peer: peer.clone(), study: study() });
    assert!(began.contains("110102") && began.contains(r#"EventOutcomeIndicator="0""#), "{began}");
    let nothing = AuditStudy { sop_classes: Vec::new(), ..study() };
    for (study, failed, outcome, described) in [
        (study(), 0, 0, ""),
        (study(), 2, 4, "2 instances were not taken; each is tried again, or given up"),
        (nothing, 1, 8, "1 instance was not taken"),
    ] {
        let message = message(AuditEvent::Delivered { peer: peer.clone(), study, failed });
        for part in [
            &format!(r#"EventOutcomeIndicator="{outcome}""#),
            described,
            r#"csd-code="110104""#,
            r#"UserID="TIDEGATE" AlternativeUserID="AETITLES=TIDEGATE" UserIsRequestor="true""#,
            r#"UserID="ARCHIVE" AlternativeUserID="AETITLES=ARCHIVE" UserIsRequestor="false" NetworkAccessPointID="192.0.2.7""#,
            r#"ParticipantObjectID="1.2.3""#,
            r#"ParticipantObjectID="P1""#,
        ] {
            assert!(message.contains(part), "{part} is not in {message}");
        }
        let [source, destination] = ["110153", "110152"].map(|role| message.find(role).unwrap());
        let [node, archive] = ["\"TIDEGATE\"", "\"ARCHIVE\""].map(|title| message.find(title).unwrap());
        assert!(node < source && source < archive && archive < destination, "{message}");
    }
}

#[test]
fn a_peers_strings_cannot_end_an_element_or_a_line() {
    let peer = AuditPeer {
        address: "[::ffff:192.0.2.7]:1".parse().unwrap(),
        ae_title: "A\"/><x>\n\u{1b}[2J&".to_owned(),
        certificate: "CN=<b>'".to_owned(),
    };
    let message = message(AuditEvent::Denied { peer, denial: Denial::Access(Some("r\n1".to_owned())) });
    assert!(!message.contains(['\n', '\u{1b}']) && !message.contains("<x>") && !message.contains("<b>"), "{message}");
    assert!(message.contains("UserID=\"A&quot;/&gt;&lt;x&gt;\u{fffd}\u{fffd}[2J&amp;\""), "{message}");
    assert!(message.contains("NetworkAccessPointID=\"192.0.2.7\""));
}
