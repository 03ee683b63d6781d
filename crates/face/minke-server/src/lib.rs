//! The Engine API over HTTP: one file per group of endpoints.
