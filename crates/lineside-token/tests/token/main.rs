//! Facts about tokens, seen from outside: what is refused, what a grant opens, and that signing and verifying agree.

mod forge;
mod grants;
mod hostile;
mod identity;
mod properties;
mod rules;
mod times;
