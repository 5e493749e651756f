//! Access rules. Each has criteria. The first rule whose criteria all match decides; a peer that matches none is denied. An empty list of
//! rules admits every peer.
//!
//! Criteria of the association (AE titles, address, certificate) are checked at its request; those of SOP classes for each presentation
//! context. An association is admitted if any SOP class could be stored on it. C-ECHO is served to every admitted peer.

use std::net::IpAddr;
use std::sync::Arc;

use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::StandardSopClassDictionary;
use ipnet::IpNet;
use wildmatch::WildMatch;

use crate::address;
use crate::certificate::{Certificate, CertificatePattern, Match};

/// A text with `*` for any characters, also none, and `?` for one. Matches the whole of a text, in its case.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatch);

impl Pattern {
    /// The pattern as written.
    pub fn new(pattern: &str) -> Self {
        Self(WildMatch::new(pattern))
    }

    /// Whether the pattern matches all of `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.0.matches(text)
    }

    /// Whether the pattern matches the UID of a SOP class or its keyword (PS3.6 table A-1).
    pub fn matches_sop_class(&self, uid: &str) -> bool {
        self.matches(uid) || sop_class_keyword(uid).is_some_and(|keyword| self.matches(keyword))
    }

    /// The pattern as written.
    pub fn text(&self) -> String {
        self.0.pattern()
    }
}

/// The keyword of a SOP class of the standard (PS3.6 table A-1).
pub fn sop_class_keyword(uid: &str) -> Option<&'static str> {
    StandardSopClassDictionary.by_uid(uid).map(|entry| entry.alias)
}

/// The SOP class of the standard with that keyword (PS3.6 table A-1).
pub fn sop_class_of_keyword(keyword: &str) -> Option<&'static str> {
    StandardSopClassDictionary.by_keyword(keyword).map(|entry| entry.uid)
}

/// The criteria of a rule: one item of each list must match. An empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Criteria {
    /// Calling AE title.
    pub calling: Vec<Pattern>,
    /// Called AE title.
    pub called: Vec<Pattern>,
    /// The peer's address.
    pub from: Vec<IpNet>,
    /// Names in the certificate of the peer. A peer without a certificate matches no pattern, not even `*`.
    pub certificate: Vec<CertificatePattern>,
    /// SOP class by UID or by keyword (PS3.6 table A-1).
    pub sop_class: Vec<Pattern>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name, in logs and explanations.
    pub name: String,
    /// The criteria under which it decides.
    pub criteria: Criteria,
    /// Whether the rule admits.
    pub allows: bool,
}

/// The properties of a peer that rules compare.
#[derive(Clone, Copy, Debug)]
pub struct Requestor<'a> {
    /// Calling AE title, without padding.
    pub calling: &'a str,
    /// Called AE title, without padding.
    pub called: &'a str,
    /// Its address; behind a balancer, the original one.
    pub address: IpAddr,
    /// Its certificate, if it has shown one.
    pub certificate: Option<&'a Certificate>,
}

/// A criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Criterion {
    /// Calling AE title.
    Calling,
    /// Called AE title.
    Called,
    /// Address.
    From,
    /// Certificate.
    Certificate,
    /// SOP class.
    SopClass,
}

/// The reason why an association is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rule that denies it, by its index; `None`: no rule allows it.
    pub rule: Option<usize>,
    /// The property of the peer that is not recognised; `None` if the refusal is not due to one AE title alone.
    pub because: Option<Criterion>,
}

/// The result of the rules for one association, for its lifetime.
#[derive(Clone, Debug)]
pub struct Granted {
    rules: Arc<[Rule]>,
    /// The rules that hold for the association, apart from SOP classes, by index.
    matching: Vec<usize>,
}

/// Access rules, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules(pub(crate) Arc<[Rule]>);

impl Rules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// The rules in their order.
    pub fn list(&self) -> &[Rule] {
        &self.0
    }

    /// Whether the association is admitted.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn admit(&self, requestor: &Requestor<'_>) -> Result<Granted, Refused> {
        let matches = |(index, rule): (usize, &Rule)| rule.fails_at(requestor).is_none().then_some(index);
        let matching: Vec<usize> = self.0.iter().enumerate().filter_map(matches).collect();
        for &index in &matching {
            let rule = &self.0[index];
            if rule.allows {
                return Ok(Granted { rules: self.0.clone(), matching });
            }
            if rule.criteria.sop_class.is_empty() {
                return Err(Refused { rule: Some(index), because: rule.criteria.reason() });
            }
        }
        if self.0.is_empty() {
            return Ok(Granted { rules: self.0.clone(), matching });
        }
        Err(Refused { rule: None, because: self.nearest(requestor) })
    }

    /// The single criterion that keeps some rule from admitting the requestor.
    fn nearest(&self, requestor: &Requestor<'_>) -> Option<Criterion> {
        let lacks = |wanted| self.0.iter().any(|rule| rule.allows && rule.fails_only_at(requestor, wanted));
        // A peer that is recognised by one title gets the reason that names the other.
        [Criterion::Called, Criterion::Calling].into_iter().find(|criterion| lacks(*criterion))
    }
}

impl Granted {
    /// The rule that decides on instances of `sop_class`, by its index. `Ok(None)`: there are no rules.
    ///
    /// # Errors
    /// The rule that denies them; `None`: no rule allows them.
    pub fn sop_class(&self, sop_class: &str) -> Result<Option<usize>, Option<usize>> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let decides = |index: &&usize| self.rules[**index].stores(sop_class);
        match self.matching.iter().find(decides) {
            Some(&index) if self.rules[index].allows => Ok(Some(index)),
            denied => Err(denied.copied()),
        }
    }

    /// The first rule that admits the association, by its index: its limits apply.
    pub fn association(&self) -> Option<usize> {
        self.matching.iter().copied().find(|index| self.rules[*index].allows)
    }
}

impl Rule {
    /// The first criterion about the association that does not match.
    pub(crate) fn fails_at(&self, requestor: &Requestor<'_>) -> Option<Criterion> {
        Criterion::OF_ASSOCIATION.into_iter().find(|criterion| !self.matches(*criterion, requestor))
    }

    fn fails_only_at(&self, requestor: &Requestor<'_>, wanted: Criterion) -> bool {
        let others = Criterion::OF_ASSOCIATION.into_iter().filter(|criterion| *criterion != wanted);
        !self.matches(wanted, requestor) && others.into_iter().all(|criterion| self.matches(criterion, requestor))
    }

    fn matches(&self, criterion: Criterion, requestor: &Requestor<'_>) -> bool {
        let text = |patterns: &[Pattern], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text))
        };
        let criteria = &self.criteria;
        match criterion {
            Criterion::Calling => text(&criteria.calling, requestor.calling),
            Criterion::Called => text(&criteria.called, requestor.called),
            Criterion::From => {
                let networks = &criteria.from;
                networks.is_empty() || networks.iter().any(|net| address::contains(net, requestor.address))
            }
            Criterion::Certificate => {
                // A doubt about a name never speaks for its bearer.
                let needed = if self.allows { Match::Yes } else { Match::Doubtful };
                let best = |certificate| criteria.certificate.iter().map(|pattern| pattern.matches(certificate)).max();
                criteria.certificate.is_empty() || requestor.certificate.and_then(best) >= Some(needed)
            }
            Criterion::SopClass => true,
        }
    }

    pub(crate) fn stores(&self, sop_class: &str) -> bool {
        let patterns = &self.criteria.sop_class;
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches_sop_class(sop_class))
    }
}

impl Criteria {
    /// The criterion to which a denial by these criteria is attributed.
    fn reason(&self) -> Option<Criterion> {
        match self {
            _ if !self.calling.is_empty() => Some(Criterion::Calling),
            _ if !self.called.is_empty() => Some(Criterion::Called),
            _ => None,
        }
    }
}

impl Criterion {
    pub(crate) const OF_ASSOCIATION: [Self; 4] = [Self::Calling, Self::Called, Self::From, Self::Certificate];
}

#[cfg(test)]
mod tests {
    use super::*;

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
    const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::new(text)).collect()
    }

    fn rule(name: &str, allows: bool, criteria: Criteria) -> Rule {
        Rule { name: name.to_owned(), criteria, allows }
    }

    fn peer<'a>(calling: &'a str, address: &str, certificate: Option<&'a Certificate>) -> Requestor<'a> {
        Requestor { calling, called: "TIDEGATE", address: address.parse().unwrap(), certificate }
    }

    #[test]
    fn without_rules_everyone_is_let_in() {
        let granted = Rules::new(Vec::new()).admit(&peer("X", "192.0.2.1", None)).unwrap();
        assert_eq!((granted.association(), granted.sop_class(CT)), (None, Ok(None)));
    }

    #[test]
    fn the_first_rule_that_matches_decides_and_none_is_a_denial() {
        let rules = Rules::new(vec![
            rule("lab", false, Criteria { from: vec!["10.9.0.0/16".parse().unwrap()], ..Criteria::default() }),
            rule("ct", true, Criteria { calling: patterns(&["CT*", "MR?"]), ..Criteria::default() }),
        ]);
        assert_eq!(rules.admit(&peer("CT1", "10.1.2.3", None)).unwrap().association(), Some(1));
        assert!(rules.admit(&peer("MR1", "::ffff:10.1.2.3", None)).is_ok());
        let denied = |peer| rules.admit(&peer).unwrap_err();
        assert_eq!(denied(peer("CT1", "10.9.2.3", None)), Refused { rule: Some(0), because: None });
        assert_eq!(denied(peer("CT1", "::ffff:10.9.2.3", None)).rule, Some(0));
        for stranger in ["MR12", "ct1", "XCT", ""] {
            let refused = Refused { rule: None, because: Some(Criterion::Calling) };
            assert_eq!(denied(peer(stranger, "10.1.2.3", None)), refused);
        }
    }

    #[test]
    fn a_doubtful_name_is_denied_and_not_allowed() {
        let certified = |allows, pattern| {
            let certificate = vec![CertificatePattern::parse(pattern).unwrap()];
            rule("certified", allows, Criteria { certificate, ..Criteria::default() })
        };
        let doubtful = Certificate { incomplete: Some("too many names"), ..Certificate::parse(&["CN=ct1"]).unwrap() };
        let sure = Certificate::parse(&["CN=ct1"]).unwrap();
        for (certificate, allowed, denied) in
            [(Some(&sure), true, true), (Some(&doubtful), false, true), (None, false, false)]
        {
            for pattern in ["CN=ct1", "*"] {
                let peer = peer("X", "192.0.2.1", certificate);
                assert_eq!(Rules::new(vec![certified(true, pattern)]).admit(&peer).is_ok(), allowed);
                let rules = Rules::new(vec![certified(false, pattern), rule("all", true, Criteria::default())]);
                assert_eq!(rules.admit(&peer).is_err(), denied);
            }
        }
    }

    #[test]
    fn sop_classes_are_decided_one_by_one() {
        let rules = Rules::new(vec![
            rule("no mr", false, Criteria { sop_class: patterns(&["MRImageStorage"]), ..Criteria::default() }),
            rule("ct", true, Criteria { sop_class: patterns(&[CT, "1.3.12.*"]), ..Criteria::default() }),
            rule("archive", true, Criteria { calling: patterns(&["ARCHIVE"]), ..Criteria::default() }),
        ]);
        let granted = rules.admit(&peer("X", "192.0.2.1", None)).unwrap();
        assert_eq!(granted.association(), Some(1));
        assert_eq!(granted.sop_class(CT), Ok(Some(1)));
        assert_eq!(granted.sop_class("1.3.12.2"), Ok(Some(1)));
        assert_eq!(granted.sop_class(MR), Err(Some(0)));
        assert_eq!(granted.sop_class("1.2.840.10008.5.1.4.1.1.7"), Err(None));
        let granted = rules.admit(&peer("ARCHIVE", "192.0.2.1", None)).unwrap();
        assert_eq!(granted.sop_class("1.2.840.10008.5.1.4.1.1.7"), Ok(Some(2)));
    }

    #[test]
    fn an_association_on_which_nothing_could_be_stored_does_not_come_about() {
        let ct = |allows| rule("ct", allows, Criteria { sop_class: patterns(&[CT]), ..Criteria::default() });
        let all = |allows| rule("all", allows, Criteria::default());
        let admitted = |rules: Vec<Rule>| Rules::new(rules).admit(&peer("X", "192.0.2.1", None)).is_ok();
        assert!(!admitted(vec![ct(false), all(false)]));
        assert!(!admitted(vec![ct(false)]));
        assert!(admitted(vec![ct(false), all(true)]));
        assert!(admitted(vec![ct(true), all(false)]));
        assert!(!admitted(vec![all(false), ct(true)]), "the first one denies all of it");
    }
}
