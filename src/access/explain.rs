//! Explanations of the rules' decisions.

use serde::Serialize;

use crate::rules::{Criterion, Requestor, Rules};

/// The part of one rule in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// The name of the rule.
    pub rule: String,
    /// Whether the rule would allow.
    pub allows: bool,
    /// The first criterion that did not match; `None`: all did.
    pub failed: Option<Criterion>,
    /// The criterion, as written.
    pub wanted: Vec<String>,
    /// The value of the peer that it was compared with.
    pub found: String,
}

/// A decision, and the rules that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rule that decided; `None`: no rule matched, or there is none.
    pub decided_by: Option<String>,
    /// The index of that rule, from 0.
    #[serde(skip)]
    pub rule_index: Option<usize>,
    /// The rules up to it, in their order.
    pub looked_at: Vec<Looked>,
}

impl Rules {
    /// Explains the decision about a C-STORE of `sop_class`, or without one about the association.
    pub fn explain(&self, requestor: &Requestor<'_>, sop_class: Option<&str>) -> Explanation {
        let mut looked_at = Vec::new();
        for (index, rule) in self.list().iter().enumerate() {
            let failed = rule.fails_at(requestor).or_else(|| match sop_class {
                Some(sop_class) => (!rule.stores(sop_class)).then_some(Criterion::SopClass),
                // Without a SOP class, a denial of some classes decides nothing.
                None => (!rule.allows && !rule.criteria.sop_class.is_empty()).then_some(Criterion::SopClass),
            });
            let texts = |patterns: &[crate::Pattern]| patterns.iter().map(crate::Pattern::text).collect();
            let (wanted, found) = match failed {
                None => (Vec::new(), String::new()),
                Some(Criterion::Calling) => (texts(&rule.criteria.calling), requestor.calling.to_owned()),
                Some(Criterion::Called) => (texts(&rule.criteria.called), requestor.called.to_owned()),
                Some(Criterion::From) => {
                    (rule.criteria.from.iter().map(ToString::to_string).collect(), requestor.address.to_string())
                }
                Some(Criterion::Certificate) => (
                    rule.criteria.certificate.iter().map(|pattern| pattern.text().to_owned()).collect(),
                    requestor.certificate.map(ToString::to_string).unwrap_or_default(),
                ),
                Some(Criterion::SopClass) => {
                    (texts(&rule.criteria.sop_class), sop_class.unwrap_or("not asked about").to_owned())
                }
            };
            looked_at.push(Looked { rule: rule.name.clone(), allows: rule.allows, failed, wanted, found });
            if failed.is_none() {
                let decided_by = Some(rule.name.clone());
                return Explanation { allowed: rule.allows, decided_by, rule_index: Some(index), looked_at };
            }
        }
        Explanation { allowed: self.list().is_empty(), decided_by: None, rule_index: None, looked_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Certificate, CertificatePattern, Criteria, Pattern, Rule};

    /// For any peer, the explanation and the decision agree.
    #[test]
    fn an_explanation_says_what_is_decided() {
        let any = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text)).collect::<Vec<_>>();
        let criteria = [
            Criteria::default(),
            Criteria { calling: any(&["A*"]), ..Criteria::default() },
            Criteria { called: any(&["B"]), sop_class: any(&["1.2.*"]), ..Criteria::default() },
            Criteria { from: vec!["10.0.0.0/8".parse().unwrap()], ..Criteria::default() },
            Criteria { certificate: vec![CertificatePattern::parse("CN=*").unwrap()], ..Criteria::default() },
            Criteria { sop_class: any(&["CT*"]), ..Criteria::default() },
        ];
        let mut compared = 0;
        for choice in 0_usize..(2 * criteria.len()).pow(3) {
            let mut rest = choice;
            let rules = (0..3).map(|index| {
                let which = rest % (2 * criteria.len());
                rest /= 2 * criteria.len();
                Rule { name: index.to_string(), criteria: criteria[which / 2].clone(), allows: which.is_multiple_of(2) }
            });
            let rules = Rules::new(rules.collect());
            for (calling, called, address, names) in [
                ("A1", "B", "10.1.1.1", &["CN=x"][..]),
                ("Z", "B", "10.1.1.1", &[]),
                ("A1", "C", "192.0.2.1", &["DNS:x"]),
            ] {
                let certificate = Certificate::parse(names).unwrap();
                let certificate = (!names.is_empty()).then_some(&certificate);
                let requestor = Requestor { calling, called, address: address.parse().unwrap(), certificate };
                let admitted = rules.admit(&requestor);
                assert_eq!(rules.explain(&requestor, None).allowed, admitted.is_ok(), "{rules:?} {requestor:?}");
                for sop_class in ["1.2.3", "1.2.840.10008.5.1.4.1.1.2", "1.9"] {
                    let decided = admitted.as_ref().is_ok_and(|granted| granted.sop_class(sop_class).is_ok());
                    let told = rules.explain(&requestor, Some(sop_class));
                    assert_eq!(told.allowed, decided, "{rules:?} {requestor:?} {sop_class} {told:?}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 10_000);
    }

    #[test]
    fn what_did_not_match_is_shown_with_what_was_asked_for() {
        let criteria = Criteria { calling: vec![Pattern::new("CT*")], ..Criteria::default() };
        let rules = Rules::new(vec![Rule { name: "ct".to_owned(), criteria, allows: true }]);
        let requestor = Requestor { calling: "MR1", called: "X", address: [192, 0, 2, 1].into(), certificate: None };
        let told = rules.explain(&requestor, None);
        assert_eq!((told.allowed, told.decided_by), (false, None));
        assert_eq!(told.looked_at[0].failed, Some(Criterion::Calling));
        assert_eq!((told.looked_at[0].wanted.join(","), told.looked_at[0].found.as_str()), ("CT*".to_owned(), "MR1"));
    }
}
