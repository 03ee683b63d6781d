//! HTTP as the endpoints see it: a decoded call in, an answer out. What bytes and sockets do stays in here.

pub(crate) mod answer;
pub(crate) mod blocking;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod hijack;
pub(crate) mod query;
pub(crate) mod socket;
pub(crate) mod upload;
pub(crate) mod websocket;

pub(crate) use answer::{Answer, Failure, Outcome};
pub(crate) use body::Body;
pub(crate) use call::Call;
