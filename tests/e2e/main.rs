//! End to end across real processes.
