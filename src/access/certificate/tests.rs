use super::*;

/// How the pattern compares with a certificate of these names. A name `KIND:!` is unreadable.
fn compare(pattern: &str, names: &[&str]) -> Match {
    CertificatePattern::parse(pattern).unwrap().matches(&Certificate::parse(names).unwrap())
}

#[test]
fn an_attribute_is_compared_alone() {
    for (pattern, names, expected) in [
        ("CN=*.ct.example", &["CN=ct1.ct.example, O=Hospital"][..], Match::Yes),
        ("CN=*.ct.example", &["O=Hospital, CN=ct1.ct.example"], Match::Yes),
        ("CN=*.ct.example", &["CN=CT1.CT.Example"], Match::Yes),
        ("CN=*.ct.example", &["CN=evil.visitor.example, O=x.ct.example"], Match::No),
        ("CN=*.ct.example", &["CN=evil.visitor.example", "DNS:x.ct.example"], Match::No),
        ("CN=*.ct.example", &[r"CN=evil\, O=y.ct.example"], Match::Doubtful),
        ("CN=*.ct.example", &[r"O=Visitor, CN=CN\=z.ct.example"], Match::Doubtful),
        ("CN=*.ct.example", &["CN=a.b.ct.example"], Match::No),
        ("CN=*.ct.example", &["CN=.ct.example"], Match::Doubtful),
        ("CN=evil", &["CN=EVIL"], Match::Yes),
        ("CN=evil", &["CN=evil."], Match::Doubtful),
        ("CN=evil  one", &["CN=Evil one"], Match::Yes),
        ("cn=evil", &["2.5.4.3=evil"], Match::Yes),
        ("1.2.3.4=x", &["1.2.3.4=x"], Match::Yes),
        ("CN=Müller", &["CN=MÜLLER"], Match::Yes),
        ("CN=Müller", &["CN=Mu\u{308}ller"], Match::Doubtful),
        ("CN=evil", &["CN=ev\u{200B}il"], Match::Doubtful),
        ("CN=evil", &["CN=evil\0.ct.example"], Match::Doubtful),
        ("CN=*", &[r"CN=a\, b"], Match::Yes),
        ("CN=*", &["O=a"], Match::No),
        ("CN=ct?", &["CN=ct1"], Match::Yes),
        ("CN=ct?", &["CN=ct12"], Match::No),
        (r"CN=ct\*", &["CN=ct1"], Match::No),
        ("OU=Radiology", &["OU=Hospital, OU=Radiology"], Match::Yes),
        (r"O=Hospital\, Inc.", &[r"O=Hospital\, Inc."], Match::Yes),
        (r"O=Hospital\2C Inc.", &[r"O=Hospital\, Inc."], Match::Yes),
        ("CN=*.ct.example, O=Hospital", &["CN=a.ct.example, O=Hospital"], Match::Yes),
        ("O=Hospital, DNS:*.ct.example", &["CN=x, O=Hospital", "DNS:a.ct.example"], Match::Yes),
        ("CN=*.ct.example, O=Hospital", &["CN=a.ct.example, O=Other"], Match::No),
        ("CN=*.ct.example, O=Hospital", &["CN=a.ct.example"], Match::No),
        ("*", &["CN=x"], Match::Yes),
        ("CN=straße", &["CN=STRASSE"], Match::Doubtful),
        ("CN=strasse", &["CN=Straße"], Match::Doubtful),
        ("CN=kate", &["CN=\u{212A}ate"], Match::Doubtful),
        ("CN=evil", &["CN=ev\u{131}l"], Match::Doubtful),
        ("CN=evil", &["CN=e\u{301}vil"], Match::No),
    ] {
        assert_eq!(compare(pattern, names), expected, "{pattern:?} {names:?}");
    }
}

#[test]
fn each_kind_of_alternative_name_is_compared_by_its_own_rules() {
    let digest = "0123456789abcdef".repeat(4);
    for (pattern, name, expected) in [
        ("DNS:*.ct.example", "DNS:ct1.ct.example", Match::Yes),
        ("DNS:*.ct.example", "DNS:CT1.ct.EXAMPLE.", Match::Yes),
        ("DNS:*.CT.example.", "DNS:ct1.ct.example", Match::Yes),
        ("DNS:*.ct.example", "DNS:a.b.c.ct.example", Match::No),
        ("DNS:*.ct.example", "DNS:ct.example", Match::No),
        ("DNS:*.ct.example", "DNS:xct.example", Match::No),
        ("DNS:*.ct.example", "URI:a.ct.example", Match::No),
        ("DNS:evil.example", "DNS:EVIL.example", Match::Yes),
        ("DNS:evil.example", "DNS:evil.example..", Match::Doubtful),
        ("DNS:evil.example", "DNS:evil .example", Match::Doubtful),
        ("DNS:evil.example", "DNS:*.example", Match::Doubtful),
        ("DNS:evil.example", "DNS:*.other", Match::No),
        ("DNS:*.evil.example", "DNS:*.evil.example", Match::Doubtful),
        ("DNS:*.evil.example", "DNS:*.other", Match::No),
        ("dns:evil.example", "DNS:evil.example", Match::Yes),
        ("IP:10.0.0.0/8", "IP:10.1.2.3", Match::Yes),
        ("IP:10.0.0.0/8", "IP:::ffff:10.1.2.3", Match::Yes),
        ("IP:::ffff:10.0.0.0/104", "IP:10.1.2.3", Match::Yes),
        ("IP:2001:db8::1", "IP:2001:DB8:0::1", Match::Yes),
        ("IP:10.0.0.0/8", "IP:11.1.2.3", Match::No),
        ("URI:spiffe://hospital.example/ct/*", "URI:SPIFFE://Hospital.example/ct/1", Match::Yes),
        ("URI:spiffe://hospital.example/ct/*", "URI:spiffe://hospital.example/ct/1/2", Match::Doubtful),
        ("URI:spiffe://hospital.example/ct/*", "URI:spiffe://hospital.example/mr/1", Match::No),
        ("URI:https://*.ct.example/x", "URI:https://evil/.ct.example/x", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:HTTPS://Evil.example/a/%62", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:https://evil.example:443/a/b", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:https://x:y@evil.example/a/b", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:https://evil.example/a/../a/./b", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:https://evil.example//a/b/", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:https://evil.example./a/%2562", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:https://evil.example/a/b%", Match::Doubtful),
        ("URI:https://evil.example/a/b", r"URI:https://evil.example\\a\\b", Match::Doubtful),
        ("URI:https://evil.example/a/b", "URI:evil", Match::Doubtful),
        ("URI:https://evil.example:443/a/b", "URI:https://evil.example/a/b", Match::Doubtful),
        ("URI:HTTPS://EVIL.example/a/b", "URI:https://evil.example/a/b", Match::Yes),
        ("URI:https://evil.example/a/b", "URI:https://evil.example/a/c", Match::No),
        ("URI:https://h.example/ct/*", "URI:https://h.example/ct/..", Match::No),
        ("URI:https://h.example/*/*", "URI:https://h.example/ct/../a/b", Match::Doubtful),
        ("URI:https://[2001:db8::1]/a", "URI:https://[2001:DB8::1]:443/a", Match::Doubtful),
        ("email:bob@evil.example", "emailAddress=Bob@EVIL.example", Match::Doubtful),
        ("emailAddress=bob@evil.example", "email:bob@evil.example", Match::Doubtful),
        ("email:bob@evil.example", "emailAddress=eve@evil.example", Match::No),
        ("URI:urn:evil", "URI:urn:%65vil", Match::Doubtful),
        ("URI:urn:evil", "URI:urn:EVIL", Match::Doubtful),
        (r"URI:urn:evil\?a=b", "URI:URN:evil?a=b", Match::Yes),
        ("email:*@ct.example", "email:a@CT.example", Match::Yes),
        ("email:a@ct.example", "email:A@ct.example", Match::Doubtful),
        ("email:*@ct.example", "email:a@b@ct.example", Match::Doubtful),
        ("email:*@ct.example", "email:a@x.example", Match::No),
        (&format!("SPKI:sha256:{}", digest.to_uppercase()), &format!("SPKI:sha256:{digest}"), Match::Yes),
        (&format!("SPKI:sha256:{digest}"), "SPKI:sha256:00", Match::No),
    ] {
        assert_eq!(compare(pattern, &[name]), expected, "{pattern:?} {name:?}");
    }
}

#[test]
fn a_certificate_that_was_not_read_to_its_end_is_in_doubt() {
    let digest = "0".repeat(64);
    let names = ["CN=x".to_owned(), format!("SPKI:sha256:{digest}")];
    let certificate = Certificate { incomplete: Some("too many names"), ..Certificate::parse(&names).unwrap() };
    for pattern in ["*", "CN=x", "DNS:a.example"] {
        assert_eq!(CertificatePattern::parse(pattern).unwrap().matches(&certificate), Match::Doubtful);
    }
    let key = CertificatePattern::parse(&format!("SPKI:sha256:{digest}")).unwrap();
    assert_eq!(key.matches(&certificate), Match::Yes, "the key is read in any case");
}

#[test]
fn an_entry_that_is_ambiguous_or_matches_nothing_is_a_mistake() {
    for (entry, complaint) in [
        ("", "names no attribute"),
        ("ct1.ct.example", "names no attribute"),
        ("*CN=ct*", "\"*CN\" is not the name of an attribute"),
        ("CM=x", "\"CM\" is not the name"),
        ("O=Hospital, Inc.", "a comma inside a value"),
        ("CN=x+O=y", "ambiguous"),
        ("CN=CN=x", "ambiguous"),
        ("CN=\"x\"", "ambiguous"),
        ("CN=x;O=y", "ambiguous"),
        ("CN=", "has no value"),
        ("CN=x,", "names no attribute"),
        ("*, CN=x", "names no attribute"),
        (r"CN=\C3\BC", "backslash"),
        (r"CN=x\", "backslash"),
        ("CN=u\u{308}", "can never match"),
        ("DNS:", "has no value"),
        ("DNS:*", "can never match"),
        ("DNS:ct*.example", "can never match"),
        ("DNS:a.*.example", "can never match"),
        ("DNS:müller.example", "can never match"),
        ("DNS:a..example", "can never match"),
        ("IP:10.*", "can never match"),
        ("IP:0.0.0.0", "can never match"),
        ("email:ct.example", "can never match"),
        ("IP:10.1.2.3/8", "\"10.0.0.0/8\" for the network"),
        ("URI:ct", "begins with its scheme"),
        ("URI:*", "begins with its scheme"),
        ("URI://hospital.example/ct", "begins with its scheme"),
        ("URI:1x://hospital.example/ct", "begins with its scheme"),
        ("URI:https://hospital.example/müller", "begins with its scheme"),
        ("URI:https://hospital.example/a/../b", "begins with its scheme"),
        ("URI:https://hospital.example/%4", "begins with its scheme"),
        ("URI:https://hospital.example:x/", "begins with its scheme"),
        ("email:müller@ct.example", "is ASCII"),
        ("*CN=ct*", "write \"CN=ct*\""),
        ("2.05.4.3=x", "not the name of an attribute"),
        ("3.5=x", "not the name of an attribute"),
        (&format!("DNS:{}.example", "a".repeat(64)), "at most 63"),
        (&format!("CN={}", "a".repeat(1025)), "at most 1024"),
        (&format!("SPKI:sha256:{}, SPKI:sha256:{}", "0".repeat(64), "1".repeat(64)), "one public key"),
        ("SPKI:sha256:00", "can never match"),
    ] {
        let told = CertificatePattern::parse(entry).unwrap_err().to_string();
        assert!(told.contains(complaint), "{entry:?}: {told}");
    }
}

proptest::proptest! {
    /// A wildcard may stand for anything in the reference; the comparison agrees wherever nothing is barred.
    #[test]
    fn wildcards_agree_with_those_of_titles(pattern in "[ab*?]{1,8}", value in "[ab]{0,8}") {
        let tokens = text::attribute("", &pattern).unwrap();
        let chars: Vec<char> = value.chars().collect();
        proptest::prop_assert_eq!(text::glob(&tokens, &chars, |_| false), crate::Pattern::new(&pattern).matches(&value));
    }

    /// With barred characters, the comparison is that of a search through all runs.
    #[test]
    fn a_wildcard_stands_for_no_barred_character(pattern in "[a,*?]{1,7}", value in "[a,]{0,7}") {
        fn search(pattern: &[text::Token], text: &[char]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((text::Token::Char(c), rest)) => text.first() == Some(c) && search(rest, &text[1..]),
                Some((text::Token::One, rest)) => text.first().is_some_and(|c| *c != ',') && search(rest, &text[1..]),
                Some((text::Token::Any, rest)) => {
                    search(rest, text) || text.first().is_some_and(|c| *c != ',') && search(pattern, &text[1..])
                }
            }
        }
        let tokens = text::tokens("", &pattern, &[]).unwrap();
        let chars: Vec<char> = value.chars().collect();
        proptest::prop_assert_eq!(text::glob(&tokens, &chars, |c| c == ','), search(&tokens, &chars));
    }
}
