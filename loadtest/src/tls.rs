//! TLS of the load's associations (PS3.15 §B) and of the limit, by rustls over ring.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};
use thiserror::Error;

use crate::scenario::TlsSettings;
use crate::wire::Wire;

/// Plaintext that waits to become records; more is left to the next write.
const HELD_BYTES: usize = 256 * 1024;
/// Read off a socket at a time; rustls alone would ask for 4 KiB.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// Why TLS cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error("cannot read {path}")]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{path} holds no certificate that can be trusted")]
    Ca { path: PathBuf, source: rustls::Error },
    #[error("nobody to trust: give --tls-ca FILE (in a scenario: tls.ca), or --tls-insecure for a test system")]
    NobodyToTrust,
    #[error("{0:?} is no name that a certificate can have: give server_name")]
    ServerName(String),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The TLS configuration that all connections of a run share.
#[derive(Clone, Debug)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl TlsClient {
    /// Sets up TLS towards `target`, a `HOST:PORT`.
    ///
    /// # Errors
    /// When a file cannot be used, nobody is to be trusted, or the host is no name.
    pub(crate) fn new(settings: &TlsSettings, target: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match &settings.ca {
            _ if settings.insecure => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustsAnyone(provider)))
            }
            Some(ca) => builder.with_root_certificates(roots(ca)?),
            None => return Err(TlsError::NobodyToTrust),
        };
        let config = match &settings.client {
            Some((certificate, key)) => {
                let key =
                    PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem { path: key.clone(), source })?;
                builder.with_client_auth_cert(certificates(certificate)?, key)?
            }
            None => builder.with_no_client_auth(),
        };
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host).trim_matches(['[', ']']);
        let name = settings.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// TLS over a connected socket.
    pub(crate) fn wire(&self, socket: TcpStream) -> io::Result<Wire> {
        Wire::tls(self.connection()?, socket)
    }

    fn connection(&self) -> io::Result<ClientConnection> {
        let mut connection =
            ClientConnection::new(Arc::clone(&self.config), self.server_name.clone()).map_err(io::Error::other)?;
        connection.set_buffer_limit(Some(HELD_BYTES));
        Ok(connection)
    }
}

/// The other side, of the limit.
#[derive(Clone, Debug)]
pub(crate) struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// # Errors
    /// When the PEM files cannot be used.
    pub(crate) fn new(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Pem { path: key.to_owned(), source };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates(certificate)?, PrivateKeyDer::from_pem_file(key).map_err(failed)?)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// TLS over a connected socket, by blocking reads and writes.
    pub(crate) fn stream(&self, socket: TcpStream) -> io::Result<impl Read + Write + use<>> {
        let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, ReadAhead(BufReader::with_capacity(READ_AHEAD_BYTES, socket))))
    }
}

struct ReadAhead(BufReader<TcpStream>);

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadAhead {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Ca { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// `--tls-insecure`: whoever answers is taken for the receiver. The connection is still encrypted, and its signatures checked.
#[derive(Debug)]
struct TrustsAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustsAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::server::WebPkiClientVerifier;

    use super::*;
    use crate::engine;
    use crate::plan::{Overrides, Plan};
    use crate::receiver::{Act, Receiver};
    use crate::scenario::Scenario;

    /// A certification authority and the files of what it issued.
    struct Authority {
        directory: tempfile::TempDir,
        issuer: CertifiedIssuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
            Self { directory, issuer }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Issues a certificate for `name` and writes it and its key.
        fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
            (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        }

        /// A receiver behind TLS, whose certificate is for `localhost`; it asks clients for theirs when `mutual`.
        fn receiver(&self, mutual: bool) -> Receiver {
            let (certificate, key) = self.issue("localhost");
            let provider = Arc::new(ring::default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
            let builder = builder.with_safe_default_protocol_versions().unwrap();
            let builder = if mutual {
                let trusted = Arc::new(roots(&self.file("ca.pem")).unwrap());
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(trusted, provider).build().unwrap(),
                )
            } else {
                builder.with_no_client_auth()
            };
            let config = Arc::new(builder.with_single_cert(vec![certificate], key).unwrap());
            Receiver::start_over(
                |_| Act::Acknowledge,
                move |stream| {
                    let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
                    Ok(StreamOwned::new(connection, stream))
                },
            )
        }
    }

    /// Sends instances larger than what TLS holds back, over several associations.
    fn send(receiver: &Receiver, tls: TlsSettings) -> Result<u64, String> {
        let text = "name = \"t\"\n[load]\ninstances = 12\n[associations]\ncount = 2\nmax_pdu = \"16 KiB\"\ntimeout_s = 10\n\
                    [[mix]]\nmodality = \"CT\"\nsize = \"1 MiB\"\ninstances = 3\n";
        let scenario = Scenario::parse(text, "t", Path::new("")).unwrap();
        let target = receiver.address.replace("127.0.0.1", "localhost");
        let overrides = Overrides { target, tls: Some(tls), ..Overrides::default() };
        let plan = Plan::from_scenario(&scenario, &overrides).map_err(|error| format!("{error:?}"))?;
        let result = engine::run(&plan, &mut |_| {}).map_err(|error| format!("{error:?}"))?;
        let stored = receiver.stored.lock().unwrap();
        assert!(stored.values().all(|dataset| dataset.len() > 1_000_000));
        assert_eq!(stored.len() as u64, result.totals.acknowledged);
        Ok(result.totals.acknowledged)
    }

    #[test]
    fn instances_are_stored_over_tls_with_a_trusted_receiver() {
        let authority = Authority::new();
        let receiver = authority.receiver(false);
        let trusting = TlsSettings { ca: Some(authority.file("ca.pem")), ..TlsSettings::default() };
        assert_eq!(send(&receiver, trusting), Ok(12));
    }

    #[test]
    fn a_receiver_that_nobody_vouches_for_is_refused_unless_that_does_not_matter() {
        let receiver = Authority::new().receiver(false);
        let other = Authority::new();
        let trusting = TlsSettings { ca: Some(other.file("ca.pem")), ..TlsSettings::default() };
        let error = send(&receiver, trusting.clone()).unwrap_err();
        assert!(error.contains("InvalidCertificate"), "{error}");
        assert_eq!(send(&receiver, TlsSettings { insecure: true, ..TlsSettings::default() }), Ok(12));
    }

    #[test]
    fn a_name_that_is_not_the_receivers_is_refused() {
        let authority = Authority::new();
        let receiver = authority.receiver(false);
        let server_name = Some("pacs.example.org".to_owned());
        let ca = Some(authority.file("ca.pem"));
        let error = send(&receiver, TlsSettings { ca, server_name, ..TlsSettings::default() }).unwrap_err();
        assert!(error.contains("NotValidForName"), "{error}");
    }

    #[test]
    fn a_client_shows_its_certificate_when_it_is_asked() {
        let authority = Authority::new();
        let receiver = authority.receiver(true);
        let anonymous = TlsSettings { ca: Some(authority.file("ca.pem")), ..TlsSettings::default() };
        assert!(send(&receiver, anonymous.clone()).is_err());
        authority.issue("client");
        let client = Some((authority.file("client.pem"), authority.file("client.key")));
        assert_eq!(send(&receiver, TlsSettings { client, ..anonymous }), Ok(12));
    }

    #[test]
    fn nobody_to_trust_and_files_that_are_none_are_explained() {
        let refused = |settings: &TlsSettings| TlsClient::new(settings, "localhost:104").unwrap_err().to_string();
        assert!(refused(&TlsSettings::default()).contains("--tls-ca FILE"));
        let ca = Some(PathBuf::from("/nonexistent/ca.pem"));
        assert!(refused(&TlsSettings { ca, ..TlsSettings::default() }).contains("/nonexistent/ca.pem"));
    }
}
