//! Engine API wire types, version differences, stream framing and the texts that clients match on.
