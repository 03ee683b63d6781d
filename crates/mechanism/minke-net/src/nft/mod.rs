//! The packet filter, by nftables over one long-lived netlink socket: never by a program, never through another's table.
//!
//! [`plan`] decides what the tables of this engine hold and is pure; [`table`] and [`rule`] are the vocabulary it speaks, [`wire`] the
//! kernel's form of it; [`apply`] makes the kernel's tables equal to the plan in one transaction; [`filter`] keeps both together;
//! [`foreign`] looks at other managers' chains that could stand in the way; [`watch`] puts back what somebody removes,
//! and [`abandoned`] takes away what nobody will come for.
//!
//! The socket must live as long as the engine: closing one right after a deletion waits for the kernel to finish it (15 ms).

pub(crate) mod abandoned;
pub(crate) mod apply;
pub(crate) mod filter;
pub(crate) mod foreign;
pub(crate) mod plan;
pub(crate) mod rule;
pub(crate) mod table;
pub(crate) mod watch;
mod wire;
