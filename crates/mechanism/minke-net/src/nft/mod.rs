//! The packet filter, by nftables over one long-lived netlink socket: never by a program, never through another's table.
//!
//! [`plan`] decides what the table of this engine holds and is pure; [`rule`] is the vocabulary it speaks; [`apply`] makes the kernel's
//! table equal to the plan in one transaction; [`foreign`] looks at other managers' chains that could stand in the way; [`watch`] puts back what somebody removes,
//! and [`abandoned`] takes away what nobody will come for.
//!
//! The socket must live as long as the engine: closing one right after a deletion waits for the kernel to finish it (15 ms).

pub(crate) mod abandoned;
pub(crate) mod apply;
pub(crate) mod foreign;
pub(crate) mod plan;
pub(crate) mod rule;
pub(crate) mod watch;
