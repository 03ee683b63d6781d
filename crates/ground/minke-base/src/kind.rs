//! The class of an error: what a client may do about it. Every engine error has one; the server turns it into an HTTP status in
//! one place, the CLI into an exit code in another.

/// Why something failed, seen from the one who asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is wrong: 400.
    InvalidParameter,
    /// Who asks is not known: 401.
    Unauthorized,
    /// Who asks may not: 403.
    Forbidden,
    /// The named thing is not here: 404.
    NotFound,
    /// The thing is in a state that does not allow it: 409.
    Conflict,
    /// There was nothing to do: 304.
    NotModified,
    /// The request is larger than what is taken: 413.
    TooLarge,
    /// The facility is not built: 501.
    NotImplemented,
    /// Not now, perhaps later: 503.
    Unavailable,
    /// Who asked went away before the answer: 499.
    Cancelled,
    /// The engine or its host failed: 500.
    System,
}

impl Kind {
    /// The HTTP status that Docker's API answers with.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidParameter => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotModified => 304,
            Self::TooLarge => 413,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
            Self::Cancelled => 499,
            Self::System => 500,
        }
    }
}

/// An error that knows its class.
pub trait Classified: std::error::Error {
    fn kind(&self) -> Kind;
}
