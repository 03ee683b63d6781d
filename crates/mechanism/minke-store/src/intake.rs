//! A layer's bytes on their way in: hashed and written as a blob on one thread, unpacked on another, in one pass over the stream.

use std::io::Read;
use std::thread;

use crate::compression::Compression;
use crate::content::{BlobWriter, ContentError, Expected, FinishedBlob};
use crate::layer::unpack::join;
use crate::layer::{AddedLayer, LayerError, Staged};
use crate::pipeline::{Pool, pipe};
use crate::store::{Store, StoreError};
use crate::tar::looks_like_header;

/// A blob and, if its bytes look like those of a layer, what came of unpacking them. Nothing has its name yet.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    pub(crate) blob: FinishedBlob<'a>,
    pub(crate) staged: Option<Result<Staged, LayerError>>,
    pub(crate) compression: Compression,
}

/// Takes in a stream. `on_bytes` hears how far it is.
pub(crate) fn take_in<'a>(
    store: &'a Store,
    source: &mut dyn Read,
    expected: Expected,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<Intake<'a>, ContentError> {
    take_in_with(store, store.content().writer()?, source, expected, on_bytes)
}

/// The same with a writer that is there already.
pub(crate) fn take_in_with<'a>(
    store: &'a Store,
    mut writer: BlobWriter<'a>,
    source: &mut dyn Read,
    expected: Expected,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<Intake<'a>, ContentError> {
    let failed = |source| ContentError::Source { name: "of the layer".to_owned(), source };
    let pool = Pool::new();
    let mut chunk = pool.fill(source).map_err(failed)?;
    let start = chunk.as_ref().map_or(&[][..], |chunk| &**chunk);
    let compression = Compression::detect(start);
    let is_layer = compression != Compression::None || start.is_empty() || looks_like_header(start);
    thread::scope(|scope| {
        let (feed, reader) = pipe();
        let layers = store.layers();
        let unpacking = is_layer.then(|| {
            scope.spawn(move || match compression {
                // The blob's own digest is the layer's: no second hash, no copy.
                Compression::None => layers.stage_plain(reader),
                _ => layers.stage(reader),
            })
        });
        let mut feed = is_layer.then_some(feed);
        let mut received = 0;
        let mut receive = || -> Result<(), ContentError> {
            while let Some(bytes) = chunk.take() {
                received += bytes.len() as u64;
                if let Some(max) = expected.max.filter(|max| received > *max) {
                    return Err(ContentError::TooLarge { name: "the layer".to_owned(), max });
                }
                if let Some(size) = expected.size.filter(|size| received > *size) {
                    let name = "of the layer".to_owned();
                    return Err(ContentError::Size { name, expected: size, found: received });
                }
                // Who unpacks has failed when the channel is closed; the blob is completed all the same.
                feed = feed.take().filter(|feed| feed.send(Ok(bytes.clone())).is_ok());
                writer.append(&bytes)?;
                on_bytes(received);
                chunk = pool.fill(source).map_err(failed)?;
            }
            Ok(())
        };
        let result = receive();
        if let (Err(_), Some(feed)) = (&result, &feed) {
            drop(feed.send(Err(std::io::Error::other("the stream broke off"))));
        }
        drop(feed);
        let staged = unpacking.map(join);
        result?;
        let blob = writer.finish(expected)?;
        let digest = blob.blob().digest;
        let staged = staged.map(|staged| {
            staged.map(|mut staged| {
                if compression == Compression::None {
                    staged.diff_id = digest;
                }
                staged
            })
        });
        Ok(Intake { blob, staged, compression })
    })
}

impl Store {
    /// Adds a layer from a tar stream, compressed or not: the blob as it came, and the unpacked tree.
    pub fn add_layer(&self, source: &mut dyn Read, expected: Expected) -> Result<AddedLayer, StoreError> {
        let Intake { blob, staged, compression } = take_in(self, source, expected, &mut |_bytes| {})?;
        let staged = match staged {
            Some(staged) => staged?,
            // What does not look like a layer gets the tar reader's own words.
            None => self.layers().stage(blob.open()?)?,
        };
        let blob = blob.publish()?;
        self.content().sync_names()?;
        let (layer, already) = self.layers().commit(staged)?;
        self.layers().settle_in_background();
        Ok(AddedLayer { layer, blob, compression, already })
    }
}
