//! Authentication and authorisation, in front of every route.
//!
//! - Any web page can make a browser on this machine send requests to the loopback address. *DNS rebinding* points the page's own name here,
//!   so without a token only hosts that cannot be rebound are answered. A request that *changes* something must have a header that no page
//!   can send to another origin without a preflight request (CORS), which is never granted.
//! - Outside the loopback address, the configuration requires a token or a client certificate.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use subtle::ConstantTimeEq;

use super::model::Complaint;
use super::surface::Surface;

/// A request that changes something must have this header, with any value, or a token.
pub(super) const OPERATOR_HEADER: &str = "x-tidegate";

/// Routes without authentication: probes, and the page, which contains no figures.
const OPEN: [&str; 6] = ["/live", "/ready", "/", "/style.css", "/app.js", "/icon.svg"];

/// Below this the insides of the process are told: never without a token, not even on the loopback.
const OF_OPERATORS: &str = "/debug/";

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
    pub(super) token: Option<String>,
}

/// Whether the request is authenticated, as far as the configuration requires it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trusted(pub(super) bool);

/// Refuses the request, or lets it pass.
pub(super) async fn guard(
    access: web::Data<Access>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    use actix_web::HttpMessage;
    let mut response = match judge(&access, request.method(), request.path(), request.headers()) {
        Ok(trusted) => {
            request.extensions_mut().insert(trusted);
            next.call(request).await?.map_into_boxed_body()
        }
        Err(refusal) => {
            if let (Refusal::Token, Some(surface), Some(peer)) =
                (refusal, request.app_data::<web::Data<Surface>>(), request.peer_addr())
            {
                surface.observer.record_wrong_token(peer);
            }
            request.into_response(refusal.response())
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the host must be an IP address or localhost: use one of them, or set admin.token_file")]
    Host,
    #[error("a bearer token is required: Authorization: Bearer …")]
    Token,
    #[error("this is answered with a bearer token only, and none is set: set admin.token_file")]
    NoToken,
    #[error("a request that changes something requires the header {OPERATOR_HEADER}: 1 or a bearer token")]
    Operator,
}

impl Refusal {
    fn response(self) -> HttpResponse {
        let status = match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::NoToken | Self::Operator => StatusCode::FORBIDDEN,
        };
        let mut response = HttpResponse::build(status);
        if self == Self::Token {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        response.json(Complaint::new(self))
    }
}

fn judge(access: &Access, method: &Method, path: &str, headers: &HeaderMap) -> Result<Trusted, Refusal> {
    let has_token = access.token.as_ref().is_some_and(|token| shows(headers, token));
    if access.token.is_none() && !names_an_address(headers) {
        return Err(Refusal::Host);
    }
    let trusted = access.token.is_none() || has_token;
    if !trusted && !OPEN.contains(&path) {
        return Err(Refusal::Token);
    }
    if path.starts_with(OF_OPERATORS) && access.token.is_none() {
        return Err(Refusal::NoToken);
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if changes && !has_token && !headers.contains_key(OPERATOR_HEADER) {
        return Err(Refusal::Operator);
    }
    Ok(Trusted(trusted))
}

fn shows(headers: &HeaderMap, token: &str) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown =
        shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    shown.is_some_and(|(_, shown)| shown.trim().as_bytes().ct_eq(token.as_bytes()).into())
}

/// Whether the requested host is an IP address or localhost, which no name server resolves. A client without a `Host` is not a browser.
fn names_an_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = of.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn judged(
        token: Option<&str>,
        method: Method,
        path: &str,
        of: &[(&'static str, &'static str)],
    ) -> Result<bool, Refusal> {
        let access = Access { token: token.map(str::to_owned) };
        judge(&access, &method, path, &headers(of)).map(|trusted| trusted.0)
    }

    #[test]
    fn a_name_that_can_be_rebound_is_not_answered() {
        for host in ["127.0.0.1:9112", "localhost", "LocalHost:9112", "[::1]:9112", "10.0.0.1"] {
            assert_eq!(judged(None, Method::GET, "/api/status", &[("host", host)]), Ok(true), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9112", "localhost.evil.example", "127.0.0.1.evil.example", "[x]:1", ""]
        {
            assert_eq!(judged(None, Method::GET, "/live", &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(judged(None, Method::GET, "/api/status", &[]), Ok(true));
    }

    #[test]
    fn what_changes_something_needs_a_header_that_no_page_can_send() {
        let host = ("host", "127.0.0.1");
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            assert_eq!(judged(None, method.clone(), "/api/drain", &[host]), Err(Refusal::Operator));
            assert_eq!(judged(None, method, "/api/drain", &[host, (OPERATOR_HEADER, "1")]), Ok(true));
        }
    }

    #[test]
    fn a_token_is_asked_for_everywhere_but_at_the_probes_and_the_page() {
        let token = Some("secret");
        for path in OPEN {
            assert_eq!(judged(token, Method::GET, path, &[]), Ok(false), "{path}");
        }
        for path in ["/metrics", "/api/status", "/api/openapi.json", "/nothing"] {
            assert_eq!(judged(token, Method::GET, path, &[(OPERATOR_HEADER, "1")]), Err(Refusal::Token), "{path}");
        }
        for shown in ["secre", "secret2", "Secret", ""] {
            let shown: &'static str = Box::leak(format!("Bearer {shown}").into_boxed_str());
            assert_eq!(
                judged(token, Method::GET, "/metrics", &[("authorization", shown)]),
                Err(Refusal::Token),
                "{shown}"
            );
        }
        assert_eq!(judged(token, Method::GET, "/metrics", &[("authorization", "bearer secret")]), Ok(true));
        assert_eq!(judged(token, Method::DELETE, "/api/drain", &[("authorization", "Bearer secret")]), Ok(true));
        assert_eq!(
            judged(token, Method::GET, "/metrics", &[("host", "gateway1"), ("authorization", "Bearer secret")]),
            Ok(true)
        );
    }
}
