//! The plan and the contexts, with deliveries of a real catalogue.

use std::sync::Arc;

use tempfile::TempDir;
use tidegate_catalogue::{Catalogue, Generation, Origin, Owed, Reader, Record, SeriesValues, StudyValues};
use tidegate_protocol::requestor::{Acceptance, AcceptedContext, ContextAnswer, ContextRefused, ProposedContext};

use super::contexts::{Accepted, Pairs, Way};
use super::plan::{PAGE, Plan, Task};

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const JPEG: &str = "1.2.840.10008.1.2.4.50";
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

/// Deliveries of so many instances to one destination.
struct Owing {
    directory: TempDir,
    generation: Generation,
    destination: i64,
}

impl Owing {
    /// Each instance is of that study, SOP class and transfer syntax.
    fn new(instances: &[(u32, &str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("catalogue.sqlite");
        let origin = Arc::new(Origin { destinations: vec!["archive".to_owned()], ..Origin::default() });
        let record = |(number, (study, class, syntax)): (usize, &(u32, &str, &str))| Record {
            path: format!("{number}.dcm").into(),
            sop_instance_uid: format!("1.2.{number}").parse().unwrap(),
            sop_class_uid: (*class).to_owned(),
            transfer_syntax_uid: (*syntax).to_owned(),
            study: StudyValues { uid: format!("1.3.{study}"), ..StudyValues::default() },
            series: SeriesValues { uid: format!("1.3.{study}.1"), ..SeriesValues::default() },
            instance_number: Some(number as i64),
            told: tidegate_catalogue::ToldNumbers::default(),
            bytes: 1000,
            digest: Some(number as u128),
            received_ms: 1_700_000_000_000,
            modified_ns: None,
            origin: Some(origin.clone()),
        };
        let records: Vec<Record> = instances.iter().enumerate().map(record).collect();
        Catalogue::open(&path, false).unwrap().enter(&records).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let destination = reader.destination("archive").unwrap().unwrap().id;
        Self { directory, generation: reader.generation().unwrap(), destination }
    }

    fn page(&self, plan: &Plan) -> Vec<Owed> {
        let mut reader = Reader::open(&self.directory.path().join("catalogue.sqlite")).unwrap();
        reader.waiting(self.destination, plan.cursor(), PAGE).unwrap()
    }

    fn planned(&self) -> Plan {
        let mut plan = Plan::default();
        plan.begin_generation(self.generation);
        let page = self.page(&plan);
        assert!(plan.add_page(page));
        plan
    }
}

fn study(task: &Task) -> String {
    task.owed.study_uid.to_string()
}

#[test]
fn each_connection_stays_with_its_study_and_shares_one_only_where_there_is_no_other() {
    let owing = Owing::new(&[1, 1, 1, 2, 2, 2, 3, 3, 3].map(|study| (study, CT, EXPLICIT)));
    let mut plan = owing.planned();
    let taken: Vec<(usize, String)> = [0, 1, 0, 1, 0, 1, 0, 0, 1]
        .into_iter()
        .map(|connection| (connection, study(&plan.take(connection).unwrap())))
        .collect();
    let of = |wanted: usize| -> Vec<&str> {
        taken.iter().filter(|(connection, _)| *connection == wanted).map(|(_, study)| study.as_str()).collect()
    };
    assert_eq!(of(0), ["1.3.1", "1.3.1", "1.3.1", "1.3.3", "1.3.3"]);
    assert_eq!(of(1), ["1.3.2", "1.3.2", "1.3.2", "1.3.3"]);
    assert!(plan.take(0).is_none() && plan.available() == 0);
}

#[test]
fn what_is_under_way_is_not_planned_again_and_what_is_durable_is_forgotten() {
    let instances: Vec<_> = (0..700).map(|_| (1, CT, EXPLICIT)).collect();
    let owing = Owing::new(&instances);
    let mut plan = owing.planned();
    assert_eq!(plan.available(), PAGE as usize);
    assert!(!plan.wants_page(), "half of it is left");
    let taken: Vec<Task> = (0..300).map(|_| plan.take(0).unwrap()).collect();
    assert!(plan.wants_page());
    let page = owing.page(&plan);
    assert!(plan.add_page(page) && plan.available() == 400 && !plan.wants_page());
    // The queue is read from its beginning again, where everything is known.
    plan.queue_changed();
    assert_eq!(plan.cursor(), None);
    let page = owing.page(&plan);
    assert!(!plan.add_page(page), "nothing is new");
    let first = taken[0].owed.key;
    plan.forget(&first);
    plan.queue_changed();
    let again = Plan::default();
    let page = owing.page(&again);
    assert!(plan.add_page(page), "the one that was not delivered is owed");
    // Another catalogue: what was planned is void, and a task of the old one is not put back.
    let other = Owing::new(&[(1, CT, EXPLICIT)]);
    plan.begin_generation(other.generation);
    assert_eq!(plan.available(), 0);
    for task in taken {
        plan.put_back(task);
    }
    assert_eq!(plan.available(), 0);
}

#[test]
fn repetitions_come_last_and_in_the_end_between_others() {
    let owing = Owing::new(&(0..20).map(|_| (1, CT, EXPLICIT)).collect::<Vec<_>>());
    let mut plan = Plan::default();
    plan.begin_generation(owing.generation);
    let mut page = owing.page(&plan);
    let failed = page.split_off(17);
    plan.add_page(page);
    plan.add_repetitions(failed);
    let order: Vec<bool> = std::iter::from_fn(|| plan.take(0).map(|task| task.is_repetition)).collect();
    let at: Vec<usize> = order.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| at).collect();
    assert_eq!((at, order.len()), (vec![7, 15, 19], 20));
    let mut plan = owing.planned();
    let task = plan.take(0).unwrap();
    let uid = task.owed.sop_instance_uid.clone();
    plan.put_back(task);
    assert_eq!(plan.take(0).unwrap().owed.sop_instance_uid, uid);
}

/// A peer that takes the first of these syntaxes that a context has.
fn acceptance(proposed: &[ProposedContext], takes: &[&str]) -> Acceptance {
    let contexts = proposed.iter().zip((1..).step_by(2)).map(|(context, id)| {
        let chosen = context.transfer_syntaxes.iter().find(|syntax| takes.contains(&&***syntax));
        let accepted =
            chosen.map(|syntax| AcceptedContext { transfer_syntax: syntax.clone(), is_scu: true, is_scp: false });
        let outcome = accepted.ok_or(ContextRefused::TransferSyntaxes);
        ContextAnswer { id, abstract_syntax: context.abstract_syntax.clone(), outcome }
    });
    let contexts = contexts.collect();
    Acceptance { contexts, peer_max_pdu_length: 0, async_operations: 1, implementation: String::new() }
}

#[test]
fn an_instance_goes_as_it_is_stored_or_in_another_native_syntax_or_not_at_all() {
    let owing =
        Owing::new(&[(1, CT, EXPLICIT), (2, CT, JPEG), (3, MR, IMPLICIT), (4, MR, EXPLICIT), (5, CT, EXPLICIT)]);
    let mut plan = owing.planned();
    let proposed = Pairs::default().propose(plan.planned_owed(false));
    let of = |class: &str| -> Vec<Vec<&str>> {
        let of_class = proposed.iter().filter(|context| &*context.abstract_syntax == class);
        of_class.map(|context| context.transfer_syntaxes.iter().map(|syntax| &**syntax).collect()).collect()
    };
    let [deflated, big] = ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];
    assert_eq!(of(CT), [vec![EXPLICIT], vec![IMPLICIT, deflated, big], vec![JPEG]]);
    assert_eq!(of(MR), [vec![IMPLICIT], vec![deflated, big], vec![EXPLICIT]]);
    let tasks: Vec<Task> = (0..5).map(|connection| plan.take(connection).unwrap()).collect();
    let ways = |takes: &[&str]| -> Vec<Way> {
        let accepted = Accepted::new(&proposed, &acceptance(&proposed, takes));
        tasks.iter().map(|task| accepted.way(&task.owed)).collect()
    };
    let stored = |context| Way::Stored { context };
    let again = |context, syntax: &str| Way::Reencoded { context, syntax: syntax.into() };
    let refused = Way::Refused(ContextRefused::TransferSyntaxes);
    assert_eq!(ways(&[EXPLICIT, IMPLICIT, JPEG]), [stored(1), stored(5), stored(7), stored(11), stored(1)]);
    assert_eq!(
        ways(&[IMPLICIT]),
        [again(3, IMPLICIT), refused.clone(), stored(7), again(7, IMPLICIT), again(3, IMPLICIT)]
    );
    assert_eq!(ways(&[JPEG]), [refused.clone(), stored(5), refused.clone(), refused.clone(), refused]);
    let other = Owing::new(&[(1, MR, JPEG)]);
    let accepted = Accepted::new(&proposed, &acceptance(&proposed, &[EXPLICIT]));
    assert_eq!(accepted.way(&other.planned().take(0).unwrap().owed), Way::NotProposed);
}

#[test]
fn no_more_contexts_are_proposed_than_fit_and_those_of_before_are_remembered() {
    let classes: Vec<String> = (0..200).map(|number| format!("1.2.3.{number}")).collect();
    let instances: Vec<_> = classes.iter().map(|class| (1, class.as_str(), EXPLICIT)).collect();
    let mut pairs = Pairs::default();
    let proposed = pairs.propose(Owing::new(&instances).planned().planned_owed(false));
    assert_eq!((proposed.len(), &*proposed[0].abstract_syntax), (128, "1.2.3.0"));
    let next = pairs.propose(Owing::new(&[(1, MR, JPEG)]).planned().planned_owed(false));
    assert_eq!((&*next[0].abstract_syntax, &*next[1].abstract_syntax), (MR, "1.2.3.0"));
    assert!(next.len() < 128);
}

#[test]
fn where_others_fail_the_last_instance_is_taken_and_its_context_proposed() {
    let owing = Owing::new(&[(1, CT, EXPLICIT), (1, CT, EXPLICIT), (2, MR, EXPLICIT), (2, MR, JPEG)]);
    let mut plan = owing.planned();
    let first = plan.planned_owed(true).next().map(|owed| owed.sop_instance_uid.to_string());
    let taken: Vec<String> =
        std::iter::from_fn(|| plan.take_last(0)).map(|task| task.owed.sop_instance_uid.to_string()).collect();
    assert_eq!(
        (first.as_deref(), taken),
        (Some("1.2.3"), ["1.2.3", "1.2.2", "1.2.1", "1.2.0"].map(String::from).to_vec())
    );
    assert_eq!(plan.available(), 0);
}
