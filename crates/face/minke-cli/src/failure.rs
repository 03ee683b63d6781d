//! How a command ends when it did not work: a text for stderr, and an exit code.

use minke_client::ClientError;
use minke_client::contexts::ContextError;

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// What to say; nothing when all was said.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// Only an exit code.
    pub(crate) fn silent(code: u8) -> Failure {
        Failure { code, text: String::new() }
    }
}

macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Failure {
            fn from(error: $kind) -> Failure {
                Failure::new(1, error.to_string())
            }
        }
    )*};
}

plain!(ClientError, ContextError, String, &str);

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        // A reader that left is no news: end as a program does that SIGPIPE stops.
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::silent(141);
        }
        Failure::new(1, go_io(&error))
    }
}

/// An I/O error in the words Go programs use, without Rust's `(os error 2)`.
pub(crate) fn go_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
