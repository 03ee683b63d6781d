//! Docker's nouns, one service each: containers, images, networks, events, system.
