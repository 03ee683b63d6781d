//! Regular expressions without Unicode's tables, under the name that dependencies ask for.
//!
//! It takes the place of the crate `regex` (`[patch.crates-io]` in the workspace's manifest), which `oci-spec` wants with all its
//! features for one pattern of digits. Its tables hold pointers, and every pointer in a position-independent binary is written
//! anew whenever the program starts: a quarter of all that `minke` had to relocate (docs/decisions/0010).
//!
//! What is left out: Unicode classes (`\p{Greek}`) and case folding beyond ASCII. What users may ask for with patterns here, names
//! of objects and of log labels, is ASCII.

pub use regex_lite::*;
