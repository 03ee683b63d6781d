//! Images on the wire.

mod inspect;
mod listing;

pub use inspect::{ImageConfig, ImageInspect, ImageMetadata, RootFs};
pub use listing::{DeleteResponse, HistoryItem, ImageSummary, ImagesPruneReport};
