//! The subset of Go templates that --format takes, and docker's tables.
