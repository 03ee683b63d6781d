//! Networks: answers and requests.

use serde_json::{Map, Value};

use super::object;
use crate::ApiVersion;
use crate::network::{EndpointSettings, NetworkCreateRequest, NetworkResource};

/// `GET /networks/{id}`.
pub fn inspect(version: ApiVersion, mut network: NetworkResource) -> NetworkResource {
    if version.before(52) {
        network.status = None;
    }
    network
}

/// Whether `GET /networks` tells which containers are in a network; later only inspect does.
pub fn list_has_members(version: ApiVersion) -> bool {
    version.before(28)
}

/// One entry of `GET /networks`. Until 1.51 the field stayed behind, empty.
pub fn summary(version: ApiVersion, network: &NetworkResource) -> Value {
    let mut document = object(network);
    document.shift_remove("Status");
    if !version.before(52) {
        document.shift_remove("Containers");
    } else if !list_has_members(version) {
        document.insert("Containers".to_owned(), Value::Object(Map::new()));
    }
    Value::Object(document)
}

/// `POST /networks/create`.
pub fn create(version: ApiVersion, request: &mut NetworkCreateRequest) {
    if version.before(48) {
        // IPv4 could not be switched off.
        request.enable_ipv4 = None;
    }
}

/// The endpoint of `POST /networks/{id}/connect`.
pub fn connect(version: ApiVersion, endpoint: &mut EndpointSettings) {
    if version.before(44) {
        endpoint.mac_address.clear();
    }
    if version.before(48) {
        endpoint.gw_priority = 0;
    }
}
