//! Which range, gateway and reserved address belongs to which `--subnet`.

use serde_json::{Map, Value};
use std::net::IpAddr;

/// One subnet and what was given for it.
struct Block<'g> {
    subnet: &'g str,
    range: &'g str,
    gateway: &'g str,
    auxiliary: Map<String, Value>,
}

/// The `Config` of a network's address management, in the order of `--subnet`.
pub(crate) fn plan(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    auxiliary: &Map<String, Value>,
) -> Result<Vec<Value>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for subnet in subnets {
        for other in &blocks {
            if holds(subnet, other.subnet)? || holds(other.subnet, subnet)? {
                return Err("multiple overlapping subnet configuration is not supported".into());
            }
        }
        blocks.push(Block { subnet, range: "", gateway: "", auxiliary: Map::new() });
    }
    for range in ranges {
        let mut found = false;
        for block in &mut blocks {
            network(range)?;
            if !holds(block.subnet, range)? {
                continue;
            }
            if !block.range.is_empty() {
                return Err(format!(
                    "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                    block.range, block.subnet
                ));
            }
            block.range = range;
            found = true;
        }
        if !found {
            return Err(format!("no matching subnet for range {range}"));
        }
    }
    for gateway in gateways {
        let mut found = false;
        for block in &mut blocks {
            if !holds(block.subnet, gateway)? {
                continue;
            }
            if !block.gateway.is_empty() {
                return Err(format!(
                    "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                    block.gateway, block.subnet
                ));
            }
            block.gateway = gateway;
            found = true;
        }
        if !found {
            return Err(format!("no matching subnet for gateway {gateway}"));
        }
    }
    for (name, address) in auxiliary {
        let text = address.as_str().unwrap_or_default();
        let mut found = false;
        for block in &mut blocks {
            if holds(block.subnet, text)? {
                block.auxiliary.insert(name.clone(), address.clone());
                found = true;
            }
        }
        if !found {
            return Err(format!("no matching subnet for aux-address {text}"));
        }
    }
    Ok(blocks.into_iter().map(Block::into_json).collect())
}

impl Block<'_> {
    fn into_json(self) -> Value {
        let mut out = Map::new();
        for (key, text) in [("Subnet", self.subnet), ("IPRange", self.range), ("Gateway", self.gateway)] {
            if !text.is_empty() {
                out.insert(key.into(), text.into());
            }
        }
        if !self.auxiliary.is_empty() {
            out.insert("AuxiliaryAddresses".into(), self.auxiliary.into());
        }
        Value::Object(out)
    }
}

/// Address and length of `10.0.0.0/8`.
fn network(text: &str) -> Result<(IpAddr, u32), String> {
    let bad = || format!("invalid CIDR address: {text}");
    let (address, bits) = text.split_once('/').ok_or_else(bad)?;
    let address: IpAddr = address.parse().map_err(|_e| bad())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|b| *b <= most).ok_or_else(bad)?;
    Ok((address, bits))
}

/// Whether `data`, an address or a network's first address, lies in `subnet`.
fn holds(subnet: &str, data: &str) -> Result<bool, String> {
    let (base, bits) = network(subnet).map_err(|e| format!("invalid subnet: {e}"))?;
    let address = if data.contains('/') { Some(network(data)?.0) } else { data.parse().ok() };
    Ok(match (base, address) {
        (IpAddr::V4(base), Some(IpAddr::V4(address))) => {
            (u32::from(base) ^ u32::from(address)).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), Some(IpAddr::V6(address))) => {
            (u128::from(base) ^ u128::from(address)).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn planned(
        subnets: &[&str],
        ranges: &[&str],
        gateways: &[&str],
        aux: &[(&str, &str)],
    ) -> Result<Value, String> {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let aux = aux.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        plan(&own(subnets), &own(ranges), &own(gateways), &aux).map(Value::from)
    }

    #[test]
    fn everything_goes_to_the_subnet_it_lies_in() {
        let both = planned(
            &["10.1.0.0/16", "fd00:1::/64"],
            &["10.1.2.0/24"],
            &["fd00:1::1", "10.1.0.1"],
            &[("a", "10.1.0.9")],
        );
        let expected = json!([
            {"Subnet": "10.1.0.0/16", "IPRange": "10.1.2.0/24", "Gateway": "10.1.0.1", "AuxiliaryAddresses": {"a": "10.1.0.9"}},
            {"Subnet": "fd00:1::/64", "Gateway": "fd00:1::1"},
        ]);
        assert_eq!(both, Ok(expected));
        assert_eq!(planned(&[], &[], &[], &[]), Ok(json!([])));
        assert_eq!(
            planned(&["0.0.0.0/0"], &[], &["9.9.9.9"], &[]),
            Ok(json!([{"Subnet": "0.0.0.0/0", "Gateway": "9.9.9.9"}]))
        );
    }

    #[test]
    fn what_fits_no_subnet_is_refused_in_dockers_words() {
        let fails = |got: Result<Value, String>, why: &str| assert_eq!(got, Err(why.to_owned()));
        let net = "10.1.0.0/16";
        fails(
            planned(&[net, "10.1.2.0/24"], &[], &[], &[]),
            "multiple overlapping subnet configuration is not supported",
        );
        fails(planned(&[net], &[], &["10.9.0.1"], &[]), "no matching subnet for gateway 10.9.0.1");
        fails(planned(&[net], &[], &["bad"], &[]), "no matching subnet for gateway bad");
        fails(planned(&[net], &["10.9.0.0/24"], &[], &[]), "no matching subnet for range 10.9.0.0/24");
        fails(planned(&[net], &["bad"], &[], &[]), "invalid CIDR address: bad");
        fails(planned(&[net], &[], &[], &[("x", "")]), "no matching subnet for aux-address ");
        fails(
            planned(&[], &[], &["10.1.0.1"], &[]),
            "every ip-range or gateway must have a corresponding subnet",
        );
        fails(
            planned(&[net, "10.2.0.0/16"], &["10.1.0.0/24", "10.1.2.0/24"], &[], &[]),
            "cannot configure multiple ranges (10.1.2.0/24, 10.1.0.0/24) on the same subnet (10.1.0.0/16)",
        );
        fails(
            planned(&["x", net], &[], &[], &[]),
            "invalid subnet: invalid CIDR address: 10.1.0.0/16".replace("10.1.0.0/16", "x").as_str(),
        );
    }
}
