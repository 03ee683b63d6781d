//! The networks there are: bridge, host and none. Making others is a later issue.

use minke_api::network::NetworksPruneReport;

use super::filters;
use crate::http::Call;
use crate::http::answer::{self, Outcome};
use crate::serve::Shared;

pub(super) fn list(shared: &Shared, call: &Call) -> Outcome {
    answer::json(&shared.engine.networks.list(&filters(call)?)?)
}

pub(super) fn inspect(shared: &Shared, name: &str) -> Outcome {
    answer::json(&shared.engine.networks.inspect(name)?)
}

/// The three are never pruned, so there is nothing to do.
pub(super) fn prune(call: &Call) -> Outcome {
    call.filters(&["label", "label!", "until"])?;
    answer::json(&NetworksPruneReport::default())
}
