//! The sums of queries: a dashboard asks the same every two seconds. A question of an operator is recorded at once, and the number of its repetitions when
//! the interval is over. When all sums are used up, each further question is recorded by itself.

use std::collections::HashMap;

use super::audit::{AuditEvent, AuditQuery, Operator};

/// Questions in an interval that are summed.
const MAX_SUMS: usize = 128;

/// The questions of this interval, and how often each was repeated.
#[derive(Debug, Default)]
pub(super) struct QuerySums(HashMap<(Operator, AuditQuery), u64>);

impl QuerySums {
    /// Whether the query is to be recorded now.
    pub(super) fn note(&mut self, operator: &Operator, query: &AuditQuery) -> bool {
        let key = (operator.clone(), query.clone());
        if let Some(repeated) = self.0.get_mut(&key) {
            *repeated += 1;
            return false;
        }
        if self.0.len() < MAX_SUMS {
            self.0.insert(key, 0);
        }
        true
    }

    /// Ends the interval: the questions that were repeated, with the number of repetitions.
    pub(super) fn end(&mut self) -> impl Iterator<Item = (AuditEvent, u64)> {
        let repeated = std::mem::take(&mut self.0).into_iter().filter(|(_, repeated)| *repeated > 0);
        repeated.map(|((operator, query), repeated)| (AuditEvent::Queried { operator, query }, repeated))
    }
}

#[cfg(test)]
mod tests {
    use crate::gauges::audit::AuditRecord;
    use crate::gauges::audit_queue::AuditTrail;

    use super::*;

    #[tokio::test]
    async fn a_repeated_question_is_summed_and_each_is_counted_once() {
        let trail = AuditTrail::new(4096);
        let ask = |identity: &str, number: u32| {
            let operator = Operator { identity: identity.to_owned(), address: None };
            let query =
                AuditQuery { uri: "/api/studies".to_owned(), study: None, conditions: format!("text={number}") };
            trail.record(AuditEvent::Queried { operator, query });
        };
        for _ in 0..30 {
            ask("token", 1);
            ask("user root (uid 0)", 1);
        }
        (0..1000).for_each(|number| ask("token", number));
        trail.record(AuditEvent::Stopping);
        let records = trail.take(4096).await;
        let counts: Vec<_> = records
            .iter()
            .filter(|record| matches!(&record.event, AuditEvent::Queried { query, .. } if query.conditions == "text=1"))
            .map(|record: &AuditRecord| record.count)
            .collect();
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (4, 61), "{counts:?}");
        assert_eq!(records.iter().map(|record| record.count).sum::<u64>(), 1061);
        assert!(matches!(records.last().unwrap().event, AuditEvent::Stopping), "behind all questions");
        assert!(records.iter().all(|record| record.event.is_evidence()));
    }
}
