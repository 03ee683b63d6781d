//! Blobs by digest, layers as trees, image archives in and out.
