//! The kinds of `[[sink]]` that are brokers: NATS JetStream and AMQP 0-9-1.

use std::time::Duration;

use tidegate_actors::{AmqpSettings, BrokerLogin, NatsSettings, Secret};

use super::keys::SinkEntry;
use super::secret::secret_text;
use super::sink_url::{Url, tls, url};

/// Where the subject has the type of the event.
const EVENT: &str = "{event}";
/// Longest subject. Servers take more; names are in log lines and errors.
const MAX_SUBJECT_CHARACTERS: usize = 200;
/// Longest name of an exchange (AMQP 0-9-1, domain `exchange-name`).
const MAX_EXCHANGE_CHARACTERS: usize = 127;
/// Longest name of a virtual host: a short string.
const MAX_VHOST_BYTES: usize = 255;

pub(super) fn nats(entry: &SinkEntry, timeout: Duration, refuse: &mut impl FnMut(&str, &str)) -> Option<NatsSettings> {
    let subject = entry.subject.clone().unwrap_or_else(|| format!("dicom.{EVENT}"));
    if !is_subject(&subject) {
        let complaint = "must be the subject of a message, such as \"dicom.{event}\": names with dots between them, without spaces and wildcards, \
                         at most 200 characters";
        refuse("subject", complaint);
    }
    let login = entry.credentials_file.as_deref().map(|path| credentials(path).map(|text| login(&text)));
    let login = login.transpose().map_err(|complaint| refuse("credentials_file", &complaint)).ok();
    let read = url(&entry.url, [("nats", 4222), ("tls", 4222)]).filter(|url| url.target == "/");
    let Some(Url { is_tls, host, port, .. }) = read else {
        refuse("url", "must be nats://HOST[:PORT] or tls://HOST[:PORT]; user and password stand in credentials_file");
        return None;
    };
    let tls = tls(is_tls, entry, refuse)?;
    Some(NatsSettings { host, port, tls, subject, login: login?, timeout })
}

pub(super) fn amqp(entry: &SinkEntry, timeout: Duration, refuse: &mut impl FnMut(&str, &str)) -> Option<AmqpSettings> {
    let exchange = entry.exchange.clone().unwrap_or_else(|| "dicom".to_owned());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !(1..=MAX_EXCHANGE_CHARACTERS).contains(&exchange.len()) || !exchange.chars().all(allowed) {
        refuse("exchange", "must be 1 to 127 letters, digits, \"-\", \"_\", \".\" and \":\"");
    }
    // What a URI without user means (RabbitMQ URI Specification).
    let guest = || Some(("guest".to_owned(), Secret((*b"guest").into())));
    let login = match entry.credentials_file.as_deref().map(credentials) {
        None => guest(),
        Some(read) => match read.map(|text| login(&text)) {
            Ok(BrokerLogin::Password { user, password }) => Some((user, password)),
            Ok(BrokerLogin::Token(_)) => {
                refuse("credentials_file", "must name a file with one line, user:password");
                None
            }
            Err(complaint) => {
                refuse("credentials_file", &complaint);
                None
            }
        },
    };
    let read = url(&entry.url, [("amqp", 5672), ("amqps", 5671)]);
    let read = read.and_then(|url| vhost(&url.target).map(|vhost| (url, vhost)));
    let Some((Url { is_tls, host, port, .. }, vhost)) = read else {
        let complaint = "must be amqp://HOST[:PORT][/VHOST] or amqps://HOST[:PORT][/VHOST]; user and password stand in credentials_file";
        refuse("url", complaint);
        return None;
    };
    let tls = tls(is_tls, entry, refuse)?;
    let (user, password) = login?;
    Some(AmqpSettings { host, port, tls, vhost, exchange, user, password, timeout })
}

fn is_subject(subject: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !b"*>{}".contains(&byte))
    };
    subject.len() <= MAX_SUBJECT_CHARACTERS && subject.replace(EVENT, "event").split('.').all(is_name)
}

/// The virtual host of a path; without one, `/`.
fn vhost(path: &str) -> Option<String> {
    let encoded = path.strip_prefix('/')?;
    let (mut bytes, mut rest) = (Vec::new(), encoded.bytes());
    while let Some(byte) = rest.next() {
        match byte {
            b'/' | b'?' => return None,
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                bytes.push(digit(rest.next()?)? << 4 | digit(rest.next()?)?);
            }
            byte => bytes.push(byte),
        }
    }
    let name = String::from_utf8(bytes).ok().filter(|name| name.len() <= MAX_VHOST_BYTES)?;
    Some(if name.is_empty() { "/".to_owned() } else { name })
}

/// The line of a file with credentials.
fn credentials(path: &str) -> Result<String, String> {
    let text = secret_text(path)?;
    let line = text.trim_end_matches(['\n', '\r']);
    if line.is_empty() || line.contains(['\n', '\r', '\0']) {
        return Err(format!("{path:?} must hold one line: user:password, or for NATS a token"));
    }
    Ok(line.to_owned())
}

fn login(line: &str) -> BrokerLogin {
    match line.split_once(':') {
        Some((user, password)) => {
            BrokerLogin::Password { user: user.to_owned(), password: Secret(password.as_bytes().into()) }
        }
        None => BrokerLogin::Token(Secret(line.as_bytes().into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_names_and_no_wildcards() {
        for (subject, expected) in [
            ("dicom.{event}", true),
            ("{event}", true),
            ("dicom", true),
            ("dicom.*", false),
            ("dicom.>", false),
            ("dicom..x", false),
            (".dicom", false),
            ("di com", false),
            ("dicom.{study}", false),
            ("", false),
        ] {
            assert_eq!(is_subject(subject), expected, "{subject}");
        }
    }

    #[test]
    fn a_path_names_a_virtual_host() {
        for (path, expected) in [
            ("/", Some("/")),
            ("/%2F", Some("/")),
            ("/pacs%20a", Some("pacs a")),
            ("/a/b", None),
            ("/a?heartbeat=1", None),
            ("/%2", None),
            ("/%zz", None),
            ("/%ff", None),
        ] {
            assert_eq!(vhost(path).as_deref(), expected, "{path}");
        }
    }
}
