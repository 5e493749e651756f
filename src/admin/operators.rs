//! The role of a client's certificate.

use tidegate_actors::CertificateNames;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The rights of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Read,
    /// Read, and change.
    Operate,
}

/// A name of a certificate of an operator: `CN=name`, the subject's only common name, or `DNS:name`, one of its alternative names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OperatorName {
    Common(String),
    Dns(String),
}

impl OperatorName {
    /// `None`: it is neither.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(['=', ':'])?;
        let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty())?;
        match (kind.trim(), text.contains('=')) {
            ("CN", true) => Some(Self::Common(name)),
            ("DNS", false) => Some(Self::Dns(name)),
            _ => None,
        }
    }

    fn is_of(&self, certificate: &X509Certificate<'_>) -> bool {
        match self {
            Self::Common(wanted) => {
                let mut names = certificate.subject().iter_common_name();
                let is_it = names.next().and_then(|name| name.as_str().ok()).is_some_and(|name| name == wanted);
                is_it && names.next().is_none()
            }
            Self::Dns(wanted) => dns_names(certificate).iter().any(|name| name.eq_ignore_ascii_case(wanted)),
        }
    }
}

impl Role {
    /// Of a certificate that is trusted.
    pub(super) fn of(certificate: &[u8], operators: &[OperatorName]) -> Self {
        let parsed = X509Certificate::from_der(certificate).ok();
        let operates = parsed.is_some_and(|(_, parsed)| operators.iter().any(|name| name.is_of(&parsed)));
        if operates { Self::Operate } else { Self::Read }
    }
}

/// A certificate as log and audit name it: its subject and serial number.
pub(super) fn identity(certificate: &[u8]) -> String {
    let subject = CertificateNames::of(certificate).subject;
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => format!("certificate {subject}, serial {}", parsed.raw_serial_as_string()),
        Err(_) => "certificate that cannot be parsed".to_owned(),
    }
}

/// The alternative names of a certificate that are names of hosts.
pub(crate) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_operates_by_a_whole_name_and_no_other_attribute() {
        let certificate = |common: &str, organization: &str, dns: &str| {
            let mut parameters = rcgen::CertificateParams::new(vec![dns.to_owned()]).unwrap();
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.distinguished_name.push(rcgen::DnType::CommonName, common);
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
            parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        let operators = ["CN=ops", "DNS:ops.example"].map(|name| OperatorName::new(name).unwrap());
        let role = |common, organization, dns| Role::of(&certificate(common, organization, dns), &operators);
        assert_eq!(role("ops", "x", "other.example"), Role::Operate);
        assert_eq!(role("x", "x", "OPS.example"), Role::Operate);
        assert_eq!(role("x", "ops", "a.ops.example"), Role::Read);
        assert_eq!(role("x, CN=ops", "CN=ops", "ops.example.org"), Role::Read);
        assert_eq!(Role::of(b"no certificate", &operators), Role::Read);
        for wrong in ["ops", "O=ops", "CN=", "DNS=ops.example", "CN:ops", "DNS:"] {
            assert_eq!(OperatorName::new(wrong), None, "{wrong}");
        }
    }
}
