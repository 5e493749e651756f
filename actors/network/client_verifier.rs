//! The certificates of clients that count: those that are listed themselves, by identity, and those that a listed authority vouches for.
//!
//! Modalities often have self-signed certificates, of which the receiver gets the list. `openssl req -x509` makes them `CA:TRUE`, old
//! devices with X.509 version 1: path validation (RFC 5280 §6) knows neither as the end of a path, while the list leaves no doubt.

use std::cell::Cell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate_facts::CertificateFacts;
use super::certificate_path::{ClientKeys, Path};

thread_local! {
    /// The certificate that this thread refused last. rustls reports the error without the certificate. A handshake fails in the same poll
    /// in which the verifier refuses, so the caller takes what belongs to it.
    static REFUSED: Cell<Option<Box<Refused>>> = const { Cell::new(None) };
}

/// A certificate that was refused, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    /// `None`: it cannot be parsed.
    pub(crate) certificate: Option<CertificateFacts>,
    pub(crate) cause: String,
    pub(crate) remedy: String,
}

/// Takes the refusal of the verification that has just failed on this thread.
pub(crate) fn take_refused() -> Option<Box<Refused>> {
    REFUSED.take()
}

/// Why there is no verifier.
#[derive(Debug, thiserror::Error)]
pub enum ClientVerifierError {
    /// A listed certificate, by its number in the file.
    #[error("certificate {0} cannot be trusted: {1}")]
    Certificate(usize, String),
    /// The revocation lists.
    #[error("cannot be used: {0}")]
    Lists(String),
}

/// Verifies the certificates of clients.
#[derive(Debug)]
pub struct ClientVerifier {
    keys: ClientKeys,
    listed: Vec<Listed>,
    /// `None`: no listed certificate can be an authority's.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    /// Subjects of the authorities and issuers of the rest: a client may choose its certificate by them.
    hints: Vec<DistinguishedName>,
    is_mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The error for rustls, the cause and the remedy.
type Refusal = (Error, String, String);

#[derive(Debug)]
struct Listed {
    certificate: CertificateDer<'static>,
    is_revoked: bool,
}

impl ClientVerifier {
    /// A verifier of these certificates, less those on the revocation lists.
    ///
    /// # Errors
    /// The certificate or the lists that cannot be used.
    pub fn new(
        keys: ClientKeys,
        certificates: Vec<CertificateDer<'static>>,
        lists: Vec<CertificateRevocationListDer<'static>>,
        is_mandatory: bool,
    ) -> Result<Self, ClientVerifierError> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let mut roots = RootCertStore::empty();
        let mut hints = Vec::new();
        for (number, certificate) in (1..).zip(&certificates) {
            let unusable = |cause: &dyn ToString| ClientVerifierError::Certificate(number, cause.to_string());
            let facts = CertificateFacts::of(certificate).ok_or_else(|| unusable(&"it cannot be parsed"))?;
            let is_authority = facts.is_ca || facts.signs_certificates;
            // A certificate of version 1 cannot say what it is.
            if is_authority || facts.is_before_version_3 {
                roots.add(certificate.clone()).map_err(|error| unusable(&error))?;
            }
            if let Ok((_, parsed)) = X509Certificate::from_der(certificate) {
                let name = if is_authority { parsed.subject() } else { parsed.issuer() };
                let name = DistinguishedName::from(name.as_raw().to_vec());
                if !hints.iter().any(|hint: &DistinguishedName| hint.as_ref() == name.as_ref()) {
                    hints.push(name);
                }
            }
        }
        let is_revoked = |certificate: &CertificateDer<'_>| lists.iter().any(|list| revokes(list, certificate));
        let listed = certificates.into_iter().map(|certificate| {
            let is_revoked = is_revoked(&certificate);
            Listed { certificate, is_revoked }
        });
        let listed = listed.collect();
        let authorities = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .with_crls(lists)
                    .build()
                    .map_err(|error| ClientVerifierError::Lists(error.to_string()))?,
            ),
        };
        Ok(Self { keys, listed, authorities, hints, is_mandatory, algorithms })
    }

    fn verify_listed(&self, listed: &Listed, facts: &CertificateFacts, now: UnixTime) -> Result<(), Refusal> {
        let client_crls = self.keys.client_crls;
        if listed.is_revoked {
            let cause = format!("a list of {client_crls} revokes it");
            return Err((CertificateError::Revoked.into(), cause, "give the peer a new certificate".to_owned()));
        }
        match facts.out_of_date(seconds(now)) {
            Some(cause) => {
                Err((CertificateError::Expired.into(), cause, "renew it, and check the clocks of both".to_owned()))
            }
            // A signature on it that can be forged does not make another one equal to it.
            None => Ok(()),
        }
    }

    /// The error for rustls, which chooses the alert by it, with cause and remedy for the log.
    fn verify(
        &self,
        facts: &CertificateFacts,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let refuse =
            |error: CertificateError, cause: &str, remedy: String| Err((error.into(), cause.to_owned(), remedy));
        let ClientKeys { client_ca, client_crls } = self.keys;
        let renew = || "give the peer a new certificate".to_owned();
        if let Some(weak) = &facts.weak_key {
            return refuse(CertificateError::InvalidPurpose, weak, renew());
        }
        if let Some(listed) = self.listed.iter().find(|listed| listed.certificate == *end_entity) {
            return self.verify_listed(listed, facts, now);
        }
        if let Some(weak) = &facts.weak_signature {
            return refuse(CertificateError::InvalidPurpose, weak, renew());
        }
        if facts.is_self_issued {
            let remedy = format!("if this is the peer it says, add its certificate to the file of {client_ca}");
            return refuse(
                CertificateError::UnknownIssuer,
                &format!("it is self-signed and not listed in {client_ca}"),
                remedy,
            );
        }
        let list_it =
            format!("have it issued anew as version 3 without CA:TRUE, or add it to the file of {client_ca} itself");
        if facts.is_before_version_3 {
            return refuse(
                CertificateError::BadEncoding,
                "it is X.509 version 1, for which no authority can vouch",
                list_it,
            );
        }
        if facts.is_ca {
            return refuse(
                CertificateError::InvalidPurpose,
                "it is an authority's (CA:TRUE) and not listed itself",
                list_it,
            );
        }
        let path = Path { facts, sent: intermediates, now_s: seconds(now), keys: self.keys };
        let Some(authorities) = &self.authorities else {
            let (cause, remedy) = path.explained(&CertificateError::UnknownIssuer);
            return refuse(CertificateError::UnknownIssuer, &cause, remedy);
        };
        match authorities.verify_client_cert(end_entity, intermediates, now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => {
                let (cause, remedy) = path.explained(&error);
                refuse(error, &cause, remedy)
            }
            Err(Error::InvalidCertRevocationList(error)) => Err((
                Error::InvalidCertRevocationList(error.clone()),
                format!("its status is unknown: a list of {client_crls} cannot be verified ({error:?})"),
                format!("replace the lists of {client_crls} by those that the issuers signed"),
            )),
            Err(error) => Err((error.clone(), format!("it cannot be verified ({error})"), renew())),
        }
    }
}

fn seconds(at: UnixTime) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

/// Whether the list is of the certificate's issuer and has its serial number. The signature of the list is not verified: its issuer need not
/// be listed, and the file is the administrator's.
fn revokes(list: &[u8], certificate: &[u8]) -> bool {
    let (Ok((_, list)), Ok((_, certificate))) =
        (CertificateRevocationList::from_der(list), X509Certificate::from_der(certificate))
    else {
        return false;
    };
    list.issuer().as_raw() == certificate.issuer().as_raw()
        && list
            .iter_revoked_certificates()
            .any(|revoked| revoked.user_certificate == certificate.tbs_certificate.serial)
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = CertificateFacts::of(end_entity);
        let verified = match &certificate {
            Some(facts) => self.verify(facts, end_entity, intermediates, now),
            None => Err((
                CertificateError::BadEncoding.into(),
                "it cannot be parsed".to_owned(),
                "give the peer a new certificate".to_owned(),
            )),
        };
        verified.map(|()| ClientCertVerified::assertion()).map_err(|(error, cause, remedy)| {
            REFUSED.set(Some(Box::new(Refused { certificate, cause, remedy })));
            error
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(parsed) = before_version_3(certificate) else {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        };
        let key = &parsed.public_key().subject_public_key.data;
        let of_scheme = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let mut algorithms = of_scheme.flat_map(|(_, algorithms)| algorithms.iter());
        match algorithms.any(|algorithm| algorithm.verify_signature(key, message, signed.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(parsed) = before_version_3(certificate) else {
            return verify_tls13_signature(message, certificate, signed, &self.algorithms);
        };
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A certificate that rustls does not parse.
fn before_version_3<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    (parsed.version() != x509_parser::prelude::X509Version::V3).then_some(parsed)
}
