//! A layer from a registry: its blob goes on where the last try stopped, and is unpacked while it comes.

use std::io::Read;

use minke_base::Digest;

use crate::content::{ContentError, Expected};
use crate::intake::{Intake, take_in_with};
use crate::layer::LayerError;
use crate::store::{Store, StoreError};

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coming {
    /// Bytes of the blob that are here.
    Bytes(u64),
    /// All of them, and they are the right ones.
    Whole,
}

impl Store {
    /// Whether a layer is here as an image wants it: its blob and its tree. Both are kept from now on.
    pub fn has_layer(&self, blob: Digest, diff_id: Digest) -> Result<bool, StoreError> {
        self.pin(blob);
        self.pin(diff_id);
        Ok(self.blob_size(blob)?.is_some() && self.layers().find(diff_id).is_some())
    }

    /// Takes in a layer whose blob has this digest and size and unpacks to `diff_id`. What is here is not asked for: `open` is told
    /// from which byte on. A layer that breaks off leaves what came of it for the next try, and nothing else. When the last layer of
    /// an image is here, call [`crate::LayerStore::settle_in_background`].
    pub fn receive_layer(
        &self,
        blob: Digest,
        size: u64,
        diff_id: Digest,
        open: &mut dyn FnMut(u64) -> Box<dyn Read + Send>,
        tell: &mut dyn FnMut(Coming),
    ) -> Result<(), StoreError> {
        self.pin(blob);
        self.pin(diff_id);
        if self.blob_size(blob)?.is_some() {
            tell(Coming::Whole);
            self.unpack_layer(diff_id, blob)?;
            return Ok(());
        }
        let resumed = self.content().resume(blob, size)?;
        let mut source = resumed.file.take(resumed.length).chain(open(resumed.length));
        let expected = Expected::exactly(blob, size);
        let mut on_bytes = |bytes| tell(Coming::Bytes(bytes));
        let staged = if self.layers().find(diff_id).is_some() {
            let mut writer = resumed.writer;
            receive_blob(&mut source, size, &mut on_bytes, &mut |bytes| writer.append(bytes))?;
            writer.finish(expected)?.publish()?;
            None
        } else {
            let Intake { blob, staged, .. } =
                take_in_with(self, resumed.writer, &mut source, expected, &mut on_bytes)?;
            let staged = match staged {
                Some(staged) => staged?,
                // What does not look like a layer gets the tar reader's own words.
                None => self.layers().stage(blob.open()?)?,
            };
            if staged.diff_id != diff_id {
                return Err(LayerError::DiffId { expected: diff_id, found: staged.diff_id }.into());
            }
            blob.publish()?;
            Some(staged)
        };
        self.content().sync_names()?;
        tell(Coming::Whole);
        if let Some(staged) = staged {
            self.layers().commit(staged)?;
        }
        Ok(())
    }
}

fn receive_blob(
    source: &mut dyn Read,
    size: u64,
    on_bytes: &mut dyn FnMut(u64),
    append: &mut dyn FnMut(&[u8]) -> Result<(), ContentError>,
) -> Result<(), ContentError> {
    let mut buffer = vec![0; 256 << 10];
    let mut received = 0;
    loop {
        let name = || "of the layer".to_owned();
        let got = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ContentError::Source { name: name(), source }),
        };
        received += got as u64;
        if received > size {
            return Err(ContentError::Size { name: name(), expected: size, found: received });
        }
        append(&buffer[..got])?;
        on_bytes(received);
    }
}
