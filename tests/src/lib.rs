//! End-to-end tests over a private daemon, by area.
