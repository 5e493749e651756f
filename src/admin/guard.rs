//! Authentication and authorisation, in front of every route.
//!
//! - Any web page can make a browser on this machine send requests to the loopback address. *DNS rebinding* points the page's own name here,
//!   so without a token only hosts that cannot be rebound are answered. A request that *changes* something must have a header that no page
//!   can send to another origin without a preflight request (CORS), which is never granted.
//! - An address is not an identity: every user of the host has the loopback. A request that changes something needs a token, or a certificate
//!   of an operator. Names of peers need a token or a certificate. Outside the loopback address, the configuration requires a token or a client certificate.

use std::net::{IpAddr, SocketAddr};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use subtle::ConstantTimeEq;
use tidegate_actors::Observer;
use tidegate_actors::gauges::audit::Operator;

use super::complaint::Complaint;
use super::dashboard;
use super::operators::{OperatorName, Role};
use super::places::Client;
use super::settings::Door;

/// A request that changes something must have this header, with any value, or a token.
pub(super) const OPERATOR_HEADER: &str = "x-tidegate";

/// Routes without authentication, beside the files of the dashboard: probes.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// Routes for operators only: they show the memory of the process, and patients.
const OF_OPERATORS: [&str; 7] =
    ["/debug/", "/api/studies", "/api/instances", "/api/commitments", "/api/outbox", "/api/sinks", "/api/events/"];
/// Answers that consist of names of peers or of paths. Guests of the loopback address do not get them.
const NOT_FOR_GUESTS: [&str; 3] = ["/api/memory", "/api/config", "/api/destinations"];

/// Security headers: no foreign sources, no frames, no forms, no type sniffing, no caching.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The requirements of a request.
#[derive(Clone)]
pub(super) struct Access {
    /// `None`: there is none, and no request shows it.
    token: Option<String>,
    /// Whether reading needs the token.
    is_closed: bool,
    /// Host names in the surface's certificate. No attacker's name is among them.
    hosts: Vec<String>,
    /// Names of the certificates that may change something.
    pub(super) operators: Vec<OperatorName>,
}

impl Access {
    /// `own_token` stands in where no token is configured.
    pub(super) fn of(door: &Door, own_token: Option<String>) -> Self {
        let hosts = door.tls.as_ref().map(|tls| tls.own.dns_names.clone()).unwrap_or_default();
        Self {
            token: door.token.clone().or(own_token),
            is_closed: door.token.is_some(),
            hosts,
            operators: door.operators.clone(),
        }
    }

    /// The operator whose request passed: the token counts before the certificate.
    fn operator(&self, headers: &HeaderMap, certificate: &str, peer: Option<SocketAddr>) -> Operator {
        let has_token = self.token.as_ref().is_some_and(|token| shows(headers, token));
        let identity = match (has_token, self.is_closed) {
            (true, true) => "token",
            (true, false) => "the node's own token",
            (false, _) => certificate,
        };
        Operator { identity: identity.to_owned(), address: peer.map(|peer| peer.ip().to_canonical()) }
    }
}

/// The rights of a client, rising.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// See the probes and the page.
    Stranger,
    /// Read what does not name peers.
    Guest,
    /// Read.
    Reader,
    /// Change something.
    Operator,
}

/// Refuses the request, or lets it pass.
pub(super) async fn guard(
    access: web::Data<Access>,
    observer: web::Data<Observer>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    use actix_web::HttpMessage;
    let client = request.conn_data::<Client>().cloned();
    let role = client.as_ref().and_then(|client| client.role);
    let certificate = client.as_ref().map(|client| client.certificate.clone()).unwrap_or_default();
    // The path that the routes are compared with: escaped characters of the request's own are decoded in it.
    let path = request.match_info().as_str().to_owned();
    let mut response = match judge(&access, role, request.method(), &path, request.headers()) {
        Ok(trust) => {
            if let Some(client) = client {
                client.standing.is_trusted.set(trust >= Trust::Reader);
            }
            if trust == Trust::Operator {
                let operator = access.operator(request.headers(), &certificate, request.peer_addr());
                request.extensions_mut().insert(operator);
            }
            request.extensions_mut().insert(trust);
            next.call(request).await?.map_into_boxed_body()
        }
        Err(refusal) => {
            if let (true, Some(peer)) = (is_attempt(&request, refusal), request.peer_addr()) {
                observer.record_denied_operator(peer, certificate.to_string());
            }
            request.into_response(refusal.response())
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Whether the refused request is for the audit: it shows a wrong token, or would change something. A page that reads without a token is not.
fn is_attempt(request: &ServiceRequest, refusal: Refusal) -> bool {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    matches!(refusal, Refusal::Token | Refusal::WrongToken | Refusal::Role)
        && (changes || request.headers().contains_key(header::AUTHORIZATION))
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the host must be an IP address or localhost: use one of them, or set admin.token_file")]
    Host,
    #[error(
        "a bearer token is required (Authorization: Bearer …): that of admin.token_file, or if none is set that in .tidegate/admin.token of the \
         storage root"
    )]
    Token,
    #[error(
        "the token is wrong: it is that of admin.token_file, or if none is set that in .tidegate/admin.token of the storage root"
    )]
    WrongToken,
    #[error("the certificate is not of an operator: see admin.tls_client_operators")]
    Role,
    #[error("a request body must have a Content-Length")]
    Chunked,
    #[error(
        "a request that changes something requires a bearer token, or beside the certificate of an operator the header {OPERATOR_HEADER}: 1"
    )]
    Operator,
}

impl Refusal {
    fn response(self) -> HttpResponse {
        let status = match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Token | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::Role | Self::Operator => StatusCode::FORBIDDEN,
            Self::Chunked => StatusCode::LENGTH_REQUIRED,
        };
        let mut response = HttpResponse::build(status);
        if matches!(self, Self::Token | Self::WrongToken) {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response.json(Complaint::new(self))
    }
}

fn judge(
    access: &Access,
    role: Option<Role>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Trust, Refusal> {
    let has_token = access.token.as_ref().is_some_and(|token| shows(headers, token));
    if !access.is_closed && !has_token && !is_own_host(headers, &access.hosts) {
        return Err(Refusal::Host);
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::Chunked);
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    let missing = if headers.contains_key(header::AUTHORIZATION) { Refusal::WrongToken } else { Refusal::Token };
    if changes && !has_token && missing == Refusal::WrongToken {
        return Err(missing);
    }
    // A browser shows a certificate of its own accord, and a token never.
    if changes && !has_token && !headers.contains_key(OPERATOR_HEADER) {
        return Err(Refusal::Operator);
    }
    let trust = match role {
        _ if has_token => Trust::Operator,
        Some(Role::Operate) if !access.is_closed => Trust::Operator,
        Some(Role::Read) if !access.is_closed => Trust::Reader,
        _ if access.is_closed => Trust::Stranger,
        _ => Trust::Guest,
    };
    let needed = if changes || OF_OPERATORS.iter().any(|beginning| path.starts_with(beginning)) {
        Trust::Operator
    } else if PROBES.contains(&path) || dashboard::is_file(path) {
        Trust::Stranger
    } else if NOT_FOR_GUESTS.contains(&path) {
        Trust::Reader
    } else {
        Trust::Guest
    };
    match trust {
        trust if trust >= needed => Ok(trust),
        Trust::Reader => Err(Refusal::Role),
        Trust::Stranger | Trust::Guest | Trust::Operator => Err(missing),
    }
}

fn shows(headers: &HeaderMap, token: &str) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown =
        shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    shown.is_some_and(|(_, shown)| shown.trim().as_bytes().ct_eq(token.as_bytes()).into())
}

/// Whether the requested host is an IP address or localhost, which no name server resolves, or one of these names. A client without a `Host`
/// is not a browser.
fn is_own_host(headers: &HeaderMap, hosts: &[String]) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    let is_own = |own: &String| own.eq_ignore_ascii_case(name) && !name.is_empty();
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = of.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    const OWN: &str = "of-the-node";

    fn judged(
        token: Option<&str>,
        role: Option<Role>,
        method: Method,
        path: &str,
        of: &[(&'static str, &'static str)],
    ) -> Result<Trust, Refusal> {
        let access = Access {
            token: Some(token.unwrap_or(OWN).to_owned()),
            is_closed: token.is_some(),
            hosts: vec!["gateway1.example".to_owned()],
            operators: Vec::new(),
        };
        judge(&access, role, &method, path, &headers(of))
    }

    #[test]
    fn a_name_that_can_be_rebound_is_not_answered() {
        let hosts =
            ["127.0.0.1:9112", "localhost", "LocalHost:9112", "[::1]:9112", "10.0.0.1", "Gateway1.example:9112"];
        for host in hosts {
            let judged = judged(None, None, Method::GET, "/api/status", &[("host", host)]);
            assert_eq!(judged, Ok(Trust::Guest), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9112", "localhost.evil.example", "127.0.0.1.evil.example", "[x]:1", ""]
        {
            let judged = judged(None, Some(Role::Operate), Method::GET, "/live", &[("host", host)]);
            assert_eq!(judged, Err(Refusal::Host), "{host}");
        }
        assert_eq!(judged(None, None, Method::GET, "/api/status", &[]), Ok(Trust::Guest));
    }

    #[test]
    fn what_changes_something_needs_an_identity_and_what_no_page_can_send() {
        let (host, header) = (("host", "127.0.0.1"), (OPERATOR_HEADER, "1"));
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let change = |role, of: &[_]| judged(None, role, method.clone(), "/api/drain", of);
            assert_eq!(change(None, &[host]), Err(Refusal::Operator));
            assert_eq!(change(None, &[host, header]), Err(Refusal::Token), "the loopback address is no identity");
            assert_eq!(change(Some(Role::Read), &[host, header]), Err(Refusal::Role));
            assert_eq!(change(Some(Role::Operate), &[host]), Err(Refusal::Operator), "a browser shows it unasked");
            assert_eq!(change(Some(Role::Operate), &[host, header]), Ok(Trust::Operator));
            assert_eq!(change(None, &[host, ("authorization", "Bearer of-the-node")]), Ok(Trust::Operator));
        }
    }

    #[test]
    fn a_guest_reads_what_names_nobody() {
        for (path, guest, reader) in [
            ("/metrics", Ok(Trust::Guest), Ok(Trust::Reader)),
            ("/api/status", Ok(Trust::Guest), Ok(Trust::Reader)),
            ("/api/memory", Err(Refusal::Token), Ok(Trust::Reader)),
            ("/api/config", Err(Refusal::Token), Ok(Trust::Reader)),
            ("/api/catalogue", Ok(Trust::Guest), Ok(Trust::Reader)),
            ("/debug/pprof/heap", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/studies", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/studies/1.2", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/instances/1.2", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/commitments", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/commitments/1", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/outbox", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/destinations", Err(Refusal::Token), Ok(Trust::Reader)),
            ("/api/sinks", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/sinks/events", Err(Refusal::Token), Err(Refusal::Role)),
            ("/api/events", Ok(Trust::Guest), Ok(Trust::Reader)),
            ("/api/events/stream", Err(Refusal::Token), Err(Refusal::Role)),
        ] {
            assert_eq!(judged(None, None, Method::GET, path, &[]), guest, "{path}");
            assert_eq!(judged(None, Some(Role::Read), Method::GET, path, &[]), reader, "{path}");
        }
        let chunked = [("transfer-encoding", "chunked")];
        assert_eq!(judged(None, None, Method::GET, "/live", &chunked), Err(Refusal::Chunked));
    }

    #[test]
    fn a_token_is_asked_for_everywhere_but_at_the_probes_and_the_page() {
        let token = Some("secret");
        for path in PROBES.into_iter().chain(dashboard::FILES.iter().map(|file| file.path)) {
            assert_eq!(judged(token, None, Method::GET, path, &[]), Ok(Trust::Stranger), "{path}");
        }
        for path in ["/metrics", "/api/status", "/api/openapi.json", "/nothing"] {
            let of = [(OPERATOR_HEADER, "1")];
            assert_eq!(judged(token, Some(Role::Operate), Method::GET, path, &of), Err(Refusal::Token), "{path}");
        }
        for shown in ["secre", "secret2", "Secret", "", OWN] {
            let shown: &'static str = Box::leak(format!("Bearer {shown}").into_boxed_str());
            let judged = judged(token, None, Method::GET, "/metrics", &[("authorization", shown)]);
            assert_eq!(judged, Err(Refusal::WrongToken), "{shown}");
        }
        for of in [&[][..], &[(OPERATOR_HEADER, "1")]] {
            let wrong = [of, &[("authorization", "Bearer wrong")]].concat();
            assert_eq!(judged(None, None, Method::POST, "/api/drain", &wrong), Err(Refusal::WrongToken));
        }
        let shown = ("authorization", "bearer secret");
        assert_eq!(judged(token, None, Method::GET, "/metrics", &[shown]), Ok(Trust::Operator));
        assert_eq!(judged(token, None, Method::DELETE, "/api/drain", &[shown]), Ok(Trust::Operator));
        let of = [("host", "elsewhere"), shown];
        assert_eq!(judged(token, None, Method::GET, "/metrics", &of), Ok(Trust::Operator));
    }
}
