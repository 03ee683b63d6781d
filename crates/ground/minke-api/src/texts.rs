//! Messages that clients match on, word for word as Docker says them.
//!
//! A text gets its place here when a program (docker's own CLI, docker-py, compose, a test suite) looks for it;
//! everything else is worded where it is raised.

use crate::ApiVersion;

pub const EMPTY_BODY: &str = "invalid JSON: got EOF while reading request body";
pub const TRAILING_CONTENT: &str = "unexpected content after JSON";
pub const PAGE_NOT_FOUND: &str = "page not found";
pub const CONFIG_EMPTY: &str = "config cannot be empty in order to create a container";
pub const NO_LOG_STREAM: &str = "Bad parameters: you must choose at least one stream";
pub const NO_COMMAND: &str = "no command specified";
pub const NO_EXEC_COMMAND: &str = "No exec command specified";

pub fn too_new(wanted: &str) -> String {
    format!("client version {wanted} is too new. Maximum supported API version is {}", ApiVersion::MAX)
}

pub fn too_old(wanted: &str) -> String {
    format!(
        "client version {wanted} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
        ApiVersion::MIN
    )
}

pub fn no_such_container(name: &str) -> String {
    format!("No such container: {name}")
}

/// `reference` in familiar form, with its tag: the CLI looks for this text before it pulls.
pub fn no_such_image(reference: &str) -> String {
    format!("No such image: {reference}")
}

pub fn no_such_exec(id: &str) -> String {
    format!("No such exec instance: {id}")
}

pub fn network_not_found(name: &str) -> String {
    format!("network {name} not found")
}

pub fn no_such_volume(name: &str) -> String {
    format!("get {name}: no such volume")
}

pub fn not_running(id: &str) -> String {
    format!("container {id} is not running")
}

pub fn name_taken(name: &str, holder: &str) -> String {
    format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )
}

pub fn bad_content_type(given: &str) -> String {
    format!("unsupported Content-Type header ({given}): must be 'application/json'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_errors_say_what_is_spoken() {
        assert_eq!(too_new("1.99"), "client version 1.99 is too new. Maximum supported API version is 1.56");
        assert_eq!(
            too_old("1.10"),
            "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"
        );
    }

    #[test]
    fn missing_things_are_told_in_docker_s_words() {
        assert_eq!(no_such_container("x"), "No such container: x");
        assert_eq!(no_such_image("x:latest"), "No such image: x:latest");
        assert_eq!(no_such_exec("x"), "No such exec instance: x");
        assert_eq!(network_not_found("x"), "network x not found");
        assert_eq!(no_such_volume("x"), "get x: no such volume");
    }

    #[test]
    fn a_taken_name_names_its_holder() {
        assert_eq!(
            name_taken("web", "abc"),
            "Conflict. The container name \"/web\" is already in use by container \"abc\". You have to remove (or rename) that container to be able to reuse that name."
        );
    }

    #[test]
    fn a_foreign_content_type_is_named() {
        assert_eq!(
            bad_content_type("text/plain"),
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        );
    }
}
