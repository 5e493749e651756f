//! Values of the command line that several commands take, each with an explanation of what is expected.

/// Seconds, from a number of them, or from one with a unit: `90`, `250ms`, `90s`, `10m`, `8h`.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];
    let found = units.into_iter().find_map(|(unit, length_s)| Some((text.strip_suffix(unit)?, length_s)));
    let number = found.and_then(|(number, length_s)| Some(number.trim().parse::<f64>().ok()? * length_s));
    let wrong = || format!("{text:?}: seconds, or a number with ms, s, m or h are expected, as in 10m");
    number.filter(|seconds| (0.0..=1e8).contains(seconds)).ok_or_else(wrong)
}

/// As [`seconds`], for a time in which something must happen.
pub(crate) fn some_seconds(text: &str) -> Result<f64, String> {
    match seconds(text)? {
        0.0 => Err("must be more than 0, as in 10m".to_owned()),
        seconds => Ok(seconds),
    }
}

/// One `KEY=VALUE`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected, as in writers.count=4")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// `HOST:PORT`; an IPv6 address stands in brackets. The host's name is resolved when it is connected to.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let example = "HOST:PORT is expected, as in 127.0.0.1:11112";
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("no port: an IPv6 address stands in brackets before its port, as in [{text}]:11112"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    if host.is_empty() {
        return Err(format!("no host: {example}"));
    }
    if port.is_empty() {
        return Err(format!("no port: {example}"));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err(format!("{port:?} is no port, which is a number from 1 to 65535: {example}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_a_unit() {
        for (text, expected_s) in
            [("30", 30.0), ("0.5", 0.5), ("250ms", 0.25), ("90s", 90.0), ("1.5m", 90.0), ("8h", 28_800.0), ("0s", 0.0)]
        {
            assert_eq!(seconds(text), Ok(expected_s), "{text}");
        }
        for wrong in ["m", "-1s", "", "ten", "1d", "NaN", "1e12"] {
            assert!(seconds(wrong).unwrap_err().contains("as in 10m"), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_a_name_or_a_number_with_its_port() {
        for good in ["127.0.0.1:104", "pacs.example:11112", "[::1]:104", "[fe80::1%eth0]:65535"] {
            assert_eq!(address(good).as_deref(), Ok(good));
        }
    }
}
