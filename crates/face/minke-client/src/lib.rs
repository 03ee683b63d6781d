//! A typed client of the Engine API over unix sockets and TCP.
