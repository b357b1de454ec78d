//! Tests of tokens through the public interface: refusals, grants, and the agreement of signing and verification.

mod forge;
mod grants;
mod hostile;
mod identity;
mod properties;
mod rules;
mod times;
