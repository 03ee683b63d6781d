//! A layer's bytes on their way in: hashed and written as a blob on one thread, unpacked on another, in one pass over the stream.

use std::io::{BufWriter, Read, Write};
use std::thread;

use crate::compression::Compression;
use crate::content::{ContentError, Expected, FinishedBlob};
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

/// Why a layer that was to be written was not added.
#[derive(Debug, thiserror::Error)]
pub enum WriteLayerError<E> {
    /// Who writes has failed.
    #[error("write the layer: {0}")]
    Write(E),
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// Takes in a stream. `on_bytes` hears how far it is.
pub(crate) fn take_in<'a>(
    store: &'a Store,
    source: &mut dyn Read,
    expected: Expected,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<Intake<'a>, ContentError> {
    let failed = |source| ContentError::Source { name: "of the layer".to_owned(), source };
    let pool = Pool::new();
    let mut writer = store.content().writer()?;
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

/// The digest of a tar that holds nothing: a layer that changes nothing.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

impl Store {
    /// Adds a layer that `write` writes as a plain tar. `None`: there was nothing in it.
    pub fn add_written_layer<E: Send>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E> + Send,
    ) -> Result<Option<AddedLayer>, WriteLayerError<E>> {
        let (mut reader, writer) = std::io::pipe()
            .map_err(|source| ContentError::Source { name: "of the layer".to_owned(), source })?;
        let (taken, written) = thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let mut output = BufWriter::with_capacity(64 << 10, writer);
                // What cannot be flushed was not taken, and who takes says why.
                write(&mut output).map(|()| drop(output.flush()))
            });
            let taken = take_in(self, &mut reader, Expected::default(), &mut |_bytes| {});
            drop(reader);
            (taken, join(writing))
        });
        // Half a tar must not become a layer, whatever it looks like.
        written.map_err(WriteLayerError::Write)?;
        let Intake { blob, staged, compression } = taken?;
        if blob.blob().digest.to_string() == EMPTY_TAR {
            return Ok(None);
        }
        let staged = match staged {
            Some(staged) => staged?,
            None => self.layers().stage(blob.open()?)?,
        };
        let blob = blob.publish()?;
        self.content().sync_names()?;
        let (layer, already) = self.layers().commit(staged)?;
        self.layers().settle_in_background();
        Ok(Some(AddedLayer { layer, blob, compression, already }))
    }

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
