//! Holds nothing: the package exists for its end-to-end test.
