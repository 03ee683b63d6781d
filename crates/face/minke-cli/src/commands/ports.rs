//! `--publish` and `--expose` as the API's port maps.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Exposed ports, and bindings by port.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ports {
    exposed: BTreeMap<String, ()>,
    bindings: BTreeMap<String, Vec<(String, String)>>,
}

/// The first and last of `80` or `80-90`.
fn range(text: &str) -> Result<(u16, u16), String> {
    let number = |t: &str| {
        t.parse::<u16>().map_err(|_e| {
            let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            let why = if digits { "value out of range" } else { "invalid syntax" };
            format!("strconv.ParseUint: parsing {t:?}: {why}")
        })
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first {
        return Err(format!("invalid range specified for port: {text}"));
    }
    Ok((first, last))
}

fn protocol(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "tcp" | "udp" | "sctp" => Ok(lower),
        _ => Err(format!("invalid proto: {text}")),
    }
}

/// Port and protocol of `80/udp`; tcp when none is said, and nothing of what follows a second slash.
fn split_protocol(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    let port = parts.next().unwrap_or_default();
    (port, parts.next().filter(|p| !p.is_empty()).unwrap_or("tcp"))
}

impl Ports {
    /// Adds one `-p`: `[ip:][host]:container[/proto]`, with ranges, or the long form with keys.
    pub(crate) fn publish(&mut self, text: &str) -> Result<(), String> {
        if text.contains('=') {
            return self.publish(&short_form(text)?);
        }
        let (address, host, container) = split(text);
        let (container, proto) = split_protocol(container);
        let proto = protocol(proto)?;
        let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
        if !address.is_empty() && address.parse::<IpAddr>().is_err() {
            return Err(format!("invalid IP address: {address}"));
        }
        if container.is_empty() {
            return Err(format!("no port specified: {text}<empty>"));
        }
        let (first, last) = range(container).map_err(|_e| format!("invalid containerPort: {container}"))?;
        let hosts = match host {
            "" => None,
            host => Some(range(host).map_err(|_e| format!("invalid hostPort: {host}"))?),
        };
        let count = last - first;
        if let Some((low, high)) = hosts
            && high - low != count
            && (first != last || low == high)
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        for step in 0..=count {
            let port = match hosts {
                None => String::new(),
                // One container port may take any of a range of host ports.
                Some((low, high)) if count == 0 && high != low => format!("{low}-{high}"),
                Some((low, _)) => (low + step).to_string(),
            };
            self.add(first + step, &proto, address, port);
        }
        Ok(())
    }

    fn add(&mut self, port: u16, proto: &str, address: &str, host: String) {
        let key = format!("{port}/{proto}");
        self.exposed.insert(key.clone(), ());
        self.bindings.entry(key).or_default().push((address.to_owned(), host));
    }

    /// Adds one `--expose`.
    pub(crate) fn expose(&mut self, text: &str) -> Result<(), String> {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let (body, proto) = split_protocol(text);
        let (first, last) =
            range(body).map_err(|e| format!("invalid range format for --expose: {text}, error: {e}"))?;
        // An unknown protocol is for the engine to refuse, as with docker's client.
        for port in first..=last {
            self.exposed.insert(format!("{port}/{proto}"), ());
        }
        Ok(())
    }

    pub(crate) fn exposed(&self) -> Option<Value> {
        let set: Map<_, _> = self.exposed.keys().map(|k| (k.clone(), json!({}))).collect();
        (!set.is_empty()).then_some(Value::Object(set))
    }

    pub(crate) fn bindings(&self) -> Value {
        let list = |pairs: &[(String, String)]| -> Value {
            pairs.iter().map(|(ip, port)| json!({"HostIp": ip, "HostPort": port})).collect()
        };
        Value::Object(self.bindings.iter().map(|(k, v)| (k.clone(), list(v))).collect())
    }
}

/// `target=80,published=8080,protocol=udp` as `8080:80/udp`; other keys say nothing to a container.
fn short_form(text: &str) -> Result<String, String> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("target", value)) => target = value,
            Some(("published", value)) => published = value,
            Some(("protocol", value)) => protocol = value,
            Some((key, _)) if !key.is_empty() => {}
            _ => {
                return Err(format!("invalid publish opts format (should be name=value but got '{field}')"));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// `ip:host:container`, from the right, because an address may have colons.
fn split(body: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = body.rsplit_once(':') else { return ("", "", body) };
    match rest.rsplit_once(':') {
        Some((address, host)) => (address, host, container),
        None => ("", rest, container),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(texts: &[&str]) -> Value {
        let mut ports = Ports::default();
        for text in texts {
            ports.publish(text).unwrap();
        }
        ports.bindings()
    }

    #[test]
    fn every_form_of_publish_is_read() {
        assert_eq!(published(&["80"]), json!({"80/tcp": [{"HostIp": "", "HostPort": ""}]}));
        assert_eq!(
            published(&["127.0.0.1:8080:80"]),
            json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]})
        );
        assert_eq!(published(&["[::1]::53/udp"]), json!({"53/udp": [{"HostIp": "::1", "HostPort": ""}]}));
        assert_eq!(
            published(&["9000-9001:90-91"]),
            json!({"90/tcp": [{"HostIp": "", "HostPort": "9000"}], "91/tcp": [{"HostIp": "", "HostPort": "9001"}]})
        );
        assert_eq!(
            published(&["9000-9010:90"]),
            json!({"90/tcp": [{"HostIp": "", "HostPort": "9000-9010"}]})
        );
        assert_eq!(
            published(&["target=80,published=8080"]),
            json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]})
        );
    }

    #[test]
    fn wrong_ports_are_refused_in_dockers_words() {
        let fails = |text, why: &str| assert_eq!(Ports::default().publish(text), Err(why.to_owned()));
        fails("x", "invalid containerPort: x");
        fails("1.2.3:80:80", "invalid IP address: 1.2.3");
        fails("80-81:90-93", "invalid ranges specified for container and host Ports: 90-93 and 80-81");
        let exposed = Ports::default().expose("x");
        assert_eq!(exposed, Err("invalid range format for --expose: x, error: strconv.ParseUint: parsing \"x\": invalid syntax".into()));
    }
}
