//! Log drivers json-file, local and none: write, rotate, read, follow.
