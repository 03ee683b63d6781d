//! Netlink: messages as bytes, and sockets that check what they get back.
//!
//! [`message`] builds and reads the wire form, [`socket`] sends it and waits for the kernel's verdict. Both families the crate needs,
//! rtnetlink ([`crate::links`]) and nfnetlink ([`crate::nft`]), stand on these.

pub(crate) mod message;
pub(crate) mod socket;

pub(crate) use message::{Attributes, Batch, Message};
pub use socket::NetlinkError;
pub(crate) use socket::{Family, Socket};
