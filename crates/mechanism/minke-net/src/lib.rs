//! Links, addresses, rules: netlink and nftables from long-lived sockets, planned as values.
