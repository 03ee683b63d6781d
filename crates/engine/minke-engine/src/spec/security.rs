//! `--security-opt`: what it says, parsed once.

use crate::error::{Error, Result};

/// What a container's security options ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// The program may not gain privileges by execve.
    pub no_new_privileges: bool,
    /// Which filter of system calls applies.
    pub seccomp: Seccomp,
    /// The AppArmor profile named, if any.
    pub apparmor: Option<String>,
    /// Show `/proc` and `/sys` whole (`systempaths=unconfined`).
    pub unmasked: bool,
    /// Whether the cgroup tree may be written to; privileged containers may when nobody says otherwise.
    pub writable_cgroups: Option<bool>,
}

/// Which filter of system calls applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Nobody said: the built-in one, and none for a privileged container.
    #[default]
    Default,
    /// The built-in one, by name.
    Builtin,
    /// None.
    Unconfined,
    /// A profile as JSON text (the client reads the file).
    Profile(String),
}

impl SecurityOptions {
    /// Reads the options; a refusal is in Docker's words.
    pub fn parse(options: &[String]) -> Result<Self> {
        let mut parsed = Self::default();
        for option in options {
            if option == "no-new-privileges" {
                parsed.no_new_privileges = true;
                continue;
            }
            if option == "disable" {
                continue;
            }
            let (key, value) = option
                .split_once('=')
                .or_else(|| option.split_once(':'))
                .ok_or_else(|| Error::system(format!("invalid --security-opt 1: {option:?}")))?;
            let refuse = || Error::system(format!("invalid --security-opt 2: {option:?}"));
            match key {
                "label" => {}
                "apparmor" => parsed.apparmor = Some(value.to_owned()),
                "seccomp" => {
                    parsed.seccomp = match value {
                        "unconfined" => Seccomp::Unconfined,
                        "builtin" | "" => Seccomp::Builtin,
                        json => Seccomp::Profile(json.to_owned()),
                    }
                }
                "no-new-privileges" => {
                    parsed.no_new_privileges = truth(value).ok_or_else(refuse)?;
                }
                "writable-cgroups" => parsed.writable_cgroups = Some(truth(value).ok_or_else(refuse)?),
                "systempaths" if value == "unconfined" => parsed.unmasked = true,
                _ => return Err(refuse()),
            }
        }
        Ok(parsed)
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<SecurityOptions> {
        SecurityOptions::parse(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn both_separators_and_the_bare_word_are_taken() {
        let parsed = parse(&["no-new-privileges", "seccomp:unconfined", "label=disable"]).expect("all known");
        assert!(parsed.no_new_privileges);
        assert_eq!(parsed.seccomp, Seccomp::Unconfined);
    }

    #[test]
    fn nonsense_is_refused_in_dockers_words() {
        assert_eq!(parse(&["foo"]).expect_err("no value").message(), "invalid --security-opt 1: \"foo\"");
        assert_eq!(
            parse(&["no-new-privileges=maybe"]).expect_err("no truth value").message(),
            "invalid --security-opt 2: \"no-new-privileges=maybe\""
        );
    }
}
