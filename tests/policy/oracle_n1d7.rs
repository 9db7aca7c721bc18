//! GR00T N1.7 against what the vendor's own code computed (`shared/oracle_n1d7`).
//!
//! Skipped, aloud, where the oracle is not there.

mod codec;
mod images;
mod prompts;
