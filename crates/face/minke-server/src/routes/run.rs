//! `POST /minke/run`: create, attach and start in one request. See `minke_api::run` for the contract.

use std::sync::Arc;

use minke_api::run::{HEADER_CONTAINER, RunRequest as WireRun};
use minke_engine::containers::{RunRequest, Streams};

use super::lifecycle::adapt_create;
use crate::http::answer::{self, Outcome};
use crate::http::hijack::{Hijack, Wire};
use crate::http::{Call, Failure};
use crate::serve::Shared;

pub(super) const NEEDS_UPGRADE: &str =
    "a stream of minke's own needs the headers \"Connection: Upgrade\" and \"Upgrade: tcp\"";

pub(super) async fn run(shared: &Shared, mut call: Call) -> Outcome {
    let body = call.document_bytes().await?;
    let WireRun { mut create, options } = WireRun::from_json(&body)?;
    let warnings = adapt_create(&call, &mut create)?;
    if !options.detach && !call.wants_upgrade() {
        return Err(Failure::invalid(NEEDS_UPGRADE));
    }
    let request = RunRequest {
        name: call.query.text("name").map(str::to_owned),
        platform: call.query.text("platform").map(str::to_owned),
        create,
        detach: options.detach,
        attach: Streams {
            stdin: options.attach_stdin,
            stdout: options.attach_stdout,
            stderr: options.attach_stderr,
        },
        detach_keys: Some(options.detach_keys).filter(|keys| !keys.is_empty()),
        console_size: options.console_size.map(|size| size.map(u32::from)),
    };
    let containers = Arc::clone(&shared.engine.containers);
    if options.detach {
        let mut response = shared
            .work
            .to_the_end(async move {
                let begun = containers.begin_run(request).await?;
                containers.run_detached(begun).await
            })
            .await?;
        response.warnings.extend(warnings);
        return answer::created(&response);
    }
    let begun = {
        let containers = Arc::clone(&containers);
        shared.work.to_the_end(async move { containers.begin_run(request).await }).await?
    };
    let head = head(
        (HEADER_CONTAINER, begun.id.as_str()),
        begun.warnings.iter().chain(&warnings),
        &shared.common_text,
    );
    Ok(Hijack::new(head, Wire::Raw, move |client| async move {
        containers.run_attached(begun, client).await;
    })
    .into())
}

/// The head before a framed stream; `named` is the header that says what was made.
pub(super) fn head<'a>(
    named: (&str, &str),
    warnings: impl Iterator<Item = &'a String>,
    common: &str,
) -> Vec<u8> {
    let (header, id) = named;
    let mut head = format!(
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\n\
         Upgrade: tcp\r\n{header}: {id}\r\n"
    );
    for warning in warnings {
        head.push_str("Minke-Warning: ");
        head.extend(warning.chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
        head.push_str("\r\n");
    }
    head.push_str(common);
    head.push_str("\r\n");
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_cannot_break_out_of_its_header() {
        let warning = "one\r\nX-Evil: two".to_owned();
        let head = String::from_utf8(head((HEADER_CONTAINER, "abc"), [&warning].into_iter(), "")).unwrap();
        assert!(head.contains("Minke-Warning: one  X-Evil: two\r\n"));
        assert!(head.ends_with("\r\n\r\n"));
    }
}
