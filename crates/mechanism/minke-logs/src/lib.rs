//! Log drivers json-file, local and none: write, rotate, read, follow.
//!
//! A keeper writes with [`writer::Writer`], the engine reads with [`reader::Cursor`]; both know a log only by its
//! [`LogConfig`]. Files outlive either side, and Docker's own tools can read json-file logs.
//! Which lines a client is shown, and in what form, is the engine's business.

pub mod config;
mod files;
mod jsonfile;
pub mod line;
mod local;
pub mod reader;
pub mod stamp;
pub mod writer;

pub use config::{ConfigError, Driver, LogConfig, check_options, plan_attrs, plan_log};
pub use line::{LineRef, LogLine, Stream};
pub use reader::{Cursor, Options, ReadError, Tail, read};
pub use writer::{Background, Job, WriteError, Writer};
