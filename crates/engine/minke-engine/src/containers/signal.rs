//! Signals by the names and numbers that people type: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.

use minke_sys::signals;

use crate::error::{Error, Result};

const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The default of `docker kill`.
pub const KILL: i32 = 9;
/// The default of `docker stop`.
pub const TERM: i32 = 15;

/// The number of the signal that `text` names; an error in Docker's words for anything else.
pub fn parse(text: &str) -> Result<i32> {
    number(text).ok_or_else(|| match text.parse::<i32>() {
        Ok(number) if number != 0 => {
            Error::invalid(format!("the linux daemon does not support signal {number}"))
        }
        _ => Error::invalid(format!("invalid signal: {text}")),
    })
}

fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = signals::by_name(name) {
        return Some(number);
    }
    let offset = |digits: &str| digits.parse::<i32>().ok().filter(|n| (0..=15).contains(n));
    match name {
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => name
            .strip_prefix("RTMIN+")
            .and_then(offset)
            .map(|n| RTMIN + n)
            .or_else(|| name.strip_prefix("RTMAX-").and_then(offset).map(|n| RTMAX - n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time_signals_are_known() {
        for (text, wanted) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+3", 37), ("SIGRTMAX-14", 50), ("64", 64)]
        {
            assert_eq!(parse(text).expect(text), wanted);
        }
    }

    #[test]
    fn anything_else_is_refused_in_dockers_words() {
        for text in ["0", "NOPE", "", "RTMIN+99"] {
            assert_eq!(parse(text).expect_err(text).message(), format!("invalid signal: {text}"));
        }
        for text in ["65", "-1"] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.message(), format!("the linux daemon does not support signal {text}"));
        }
    }
}
