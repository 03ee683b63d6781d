//! Private daemons, fixtures, ptys and leak checks for the end-to-end tests.
