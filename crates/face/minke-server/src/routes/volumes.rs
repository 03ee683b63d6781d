//! Volumes, of which there are none before the issue that brings them.

use minke_api::texts;
use minke_api::volume::{VolumeList, VolumesPruneReport};
use minke_base::Kind;

use crate::http::answer::{self, Outcome};
use crate::http::{Call, Failure};

pub(super) fn list(call: &Call) -> Outcome {
    call.filters(&["dangling", "driver", "label", "name"])?;
    answer::json(&VolumeList::default())
}

pub(super) fn prune(call: &Call) -> Outcome {
    call.filters(&["all", "label", "label!"])?;
    answer::json(&VolumesPruneReport { volumes_deleted: Some(Vec::new()), space_reclaimed: 0 })
}

pub(super) fn missing(name: &str) -> Outcome {
    Err(Failure::new(Kind::NotFound, texts::no_such_volume(name)))
}
