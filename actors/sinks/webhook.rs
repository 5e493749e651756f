//! A receiver of HTTP requests: POST with a signature. Any answer of 200 to 299 takes the event; no redirect is followed, since it would carry the event
//! to where no operator has said it may go.

use std::time::Duration;

use actix_http::header::{self, HeaderName, HeaderValue};
use actix_http::{Method, RequestHead, Uri};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::event::{CONTENT_TYPE, EventOut, PublishError};
use super::http::{Connection, HttpAnswer, HttpError};
use super::signature;
use crate::committed::now_ms;
use crate::network::calling::{CallAddress, CallStream};
use crate::node::settings::WebhookSettings;

/// Longest `Retry-After` that is obeyed.
const LONGEST_AFTER: Duration = Duration::from_secs(3600);
/// A kept connection is not used again after so long: most servers and balancers close it after a minute.
const KEPT: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Webhook {
    settings: WebhookSettings,
    /// With the time of its last answer.
    kept: Option<(Connection, Instant)>,
}

impl Webhook {
    pub(super) fn new(settings: WebhookSettings) -> Self {
        Self { settings, kept: None }
    }

    pub(super) async fn publish(&mut self, event: &EventOut) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.settings.timeout;
        let down = |why| PublishError::Retry { why, after: None, is_down: true };
        let late = format!("no answer within {}", humantime::format_duration(self.settings.timeout));
        if let Some((mut connection, used)) = self.kept.take()
            && used.elapsed() < KEPT
            && connection.is_quiet()
        {
            match timeout_at(deadline, self.request(connection, event)).await {
                Ok(Ok(answer)) => return judge(answer),
                // A server may have closed a kept connection just now.
                Ok(Err(_)) => {}
                Err(_) => return Err(down(late)),
            }
        }
        let WebhookSettings { host, port, tls, .. } = &self.settings;
        let address = CallAddress { host: host.clone(), port: *port };
        let stream = CallStream::connect(&address, tls.clone(), deadline).await;
        let stream = stream.map_err(|error| down(error.to_string()))?;
        match timeout_at(deadline, self.request(Connection::new(stream), event)).await {
            Ok(answer) => judge(answer.map_err(|error| down(error.to_string()))?),
            Err(_) => Err(down(late)),
        }
    }

    async fn request(&mut self, mut connection: Connection, event: &EventOut) -> Result<HttpAnswer, HttpError> {
        let head = self.head(event).map_err(HttpError::NotHttp)?;
        let answer = connection.request(head, Bytes::from(event.body.clone())).await?;
        if answer.is_reusable {
            self.kept = Some((connection, Instant::now()));
        }
        Ok(answer)
    }

    /// The head of the request. Its time is that of the attempt: receivers refuse what is old.
    fn head(&self, event: &EventOut) -> Result<RequestHead, String> {
        let WebhookSettings { host, port, target, tls, secret, .. } = &self.settings;
        let usual = if tls.is_some() { 443 } else { 80 };
        let name = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let host = if *port == usual { name } else { format!("{name}:{port}") };
        let at_s = now_ms() / 1000;
        let values = [
            (header::HOST, host),
            (header::USER_AGENT, format!("tidegate/{}", env!("CARGO_PKG_VERSION"))),
            (header::CONTENT_TYPE, CONTENT_TYPE.to_owned()),
            (HeaderName::from_static("webhook-id"), event.id.clone()),
            (HeaderName::from_static("webhook-timestamp"), at_s.to_string()),
            (HeaderName::from_static("webhook-signature"), signature::of(&secret.0, &event.id, at_s, &event.body)),
        ];
        let mut head = RequestHead::default();
        head.method = Method::POST;
        head.uri = target.parse::<Uri>().map_err(|error| error.to_string())?;
        for (name, value) in values {
            head.headers.insert(name, HeaderValue::from_str(&value).map_err(|error| error.to_string())?);
        }
        Ok(head)
    }
}

/// What an answer means.
fn judge(answer: HttpAnswer) -> Result<(), PublishError> {
    let HttpAnswer { status, retry_after, .. } = answer;
    let why = format!("the answer was status {status}");
    let after = retry_after.map(|after| after.min(LONGEST_AFTER));
    match status {
        200..=299 => Ok(()),
        410 => Err(PublishError::Gone { why }),
        // It is too long, and will be.
        413 => Err(PublishError::Refused { why }),
        // Too many requests, and what a balancer answers for a server that is away.
        429 | 502..=504 => Err(PublishError::Retry { why, after, is_down: true }),
        300..=399 => {
            Err(PublishError::Retry { why: format!("{why}, a redirect, which is not followed"), after, is_down: false })
        }
        // Standard Webhooks: any other status may pass, such as 401 until the secret is right.
        _ => Err(PublishError::Retry { why, after, is_down: false }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_an_event_is_tried_again() {
        let answer = |status| HttpAnswer { status, retry_after: Some(Duration::from_secs(9999)), is_reusable: true };
        assert!(matches!(judge(answer(204)), Ok(())));
        assert!(matches!(judge(answer(410)), Err(PublishError::Gone { .. })));
        for (status, expected) in [(429, true), (503, true), (500, false), (301, false), (400, false)] {
            let judged = judge(answer(status));
            assert!(
                matches!(judged, Err(PublishError::Retry { after: Some(LONGEST_AFTER), is_down, .. }) if is_down == expected),
                "{status}: {judged:?}"
            );
        }
    }
}
