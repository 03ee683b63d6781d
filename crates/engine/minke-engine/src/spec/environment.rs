//! What is in the environment of a container's program, and which program that is.

use minke_api::container::ContainerConfig;

/// The search path of a container whose image sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

/// `base` changed by `overrides`: a known key is replaced in place, a new one appended, a key without `=` removed.
pub fn merge(mut base: Vec<String>, overrides: &[String]) -> Vec<String> {
    for entry in overrides {
        let place = base.iter().position(|old| key(old) == key(entry));
        match (place, entry.contains('=')) {
            (Some(at), true) => base[at].clone_from(entry),
            (Some(at), false) => drop(base.remove(at)),
            (None, true) => base.push(entry.clone()),
            (None, false) => {}
        }
    }
    base
}

/// The whole environment of a container's first process; `links` are the variables of its links.
pub fn plan(config: &ContainerConfig, hostname: &str, home: &str, links: &[String]) -> Vec<String> {
    let mut base = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if config.tty {
        base.push("TERM=xterm".to_owned());
    }
    base.extend_from_slice(links);
    let mut env = merge(base, config.env.as_deref().unwrap_or_default());
    if !env.iter().any(|entry| key(entry) == "HOME") {
        env.push(format!("HOME={home}"));
    }
    env
}

/// The image's variables that `own` does not set, appended to it: what `inspect` shows as a container's `Env`.
pub fn with_image(own: Option<Vec<String>>, image: &[String]) -> Option<Vec<String>> {
    let mut env = own.unwrap_or_default();
    for entry in image {
        if !env.iter().any(|mine| key(mine) == key(entry)) {
            env.push(entry.clone());
        }
    }
    Some(env)
}

/// The program and its arguments: entrypoint, then command.
pub fn program(config: &ContainerConfig) -> Vec<String> {
    let entrypoint = config.entrypoint.as_deref().unwrap_or_default();
    let cmd = config.cmd.as_deref().unwrap_or_default();
    entrypoint.iter().chain(cmd).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn an_override_replaces_in_place_and_a_bare_key_removes() {
        let merged = merge(words(&["A=1", "B=2", "C=3"]), &words(&["B=x", "C", "D=4", "E"]));
        assert_eq!(merged, words(&["A=1", "B=x", "D=4"]));
    }

    #[test]
    fn a_terminal_brings_term_the_user_home_and_a_link_what_the_container_does_not_set() {
        let config = ContainerConfig {
            tty: true,
            env: Some(words(&["PATH=/bin", "DB_NAME=/mine"])),
            ..ContainerConfig::default()
        };
        assert_eq!(
            plan(&config, "box", "/root", &words(&["DB_NAME=/box/db", "DB_PORT=tcp://10.0.0.2:80"])),
            words(&[
                "PATH=/bin",
                "HOSTNAME=box",
                "TERM=xterm",
                "DB_NAME=/mine",
                "DB_PORT=tcp://10.0.0.2:80",
                "HOME=/root"
            ])
        );
    }

    #[test]
    fn the_containers_own_variables_come_first() {
        let env = with_image(Some(words(&["A=mine"])), &words(&["A=image", "B=image"]));
        assert_eq!(env, Some(words(&["A=mine", "B=image"])));
    }
}
