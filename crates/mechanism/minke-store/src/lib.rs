//! Blobs by digest, layers as trees, image archives in and out.
//!
//! The crate is synchronous and knows neither HTTP nor image records: which images exist and what they are called is the
//! engine's to remember. The engine keeps one [`Store`] open, hands it streams, and records what comes back.
//!
//! Terms:
//! - a *blob* is bytes in the content store, kept as they came, under their sha256;
//! - a *layer* is one unpacked tree, named by its *diff ID*, the digest of the uncompressed tar; layers stand alone and are shared
//!   between images by diff ID;
//! - an *image* is a manifest blob: it names the configuration blob (whose digest is the image's ID) and the layers' blobs;
//! - a *rootfs* is a container's view: its own writable directory over a stack of layers, by overlayfs or as a plain copy.
//!
//! Life of an image: [`archive::load`] (or [`archive::import`], [`hello::install`]) under a [`pins::Hold`]; the engine records
//! manifest digest, ID and names, then drops the hold; later it asks [`Store::read_image`], and [`Store::collect`] removes what no
//! record names.

pub mod archive;
mod arrival;
pub mod compression;
pub mod content;
pub mod copying;
pub mod document;
mod durable;
pub mod hello;
mod intake;
pub mod layer;
pub mod pins;
mod pipeline;
pub mod porter;
pub mod rootfs;
pub mod seal;
pub mod stack;
mod store;
pub mod tar;
pub mod transplant;

pub use arrival::Coming;
pub use content::{Blob, ContentStore};
pub use document::{
    ContainerConfig, Descriptor, Healthcheck, History, ImageConfig, Index, Manifest, Platform,
};
pub use layer::{Layer, LayerStore, Limits};
pub use pins::Hold;
pub use rootfs::{Rootfs, RootfsDriver};
pub use seal::{SealedLayer, Snapshot};
pub use store::{Collected, HistoryItem, Image, LAYERS_MAX, Live, Store, StoreError, StoreOptions};
