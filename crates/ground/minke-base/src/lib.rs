//! Values and rules every layer shares: ids, names, references, digests, sizes, times, error kinds.
