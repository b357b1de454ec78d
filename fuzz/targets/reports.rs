#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lineside_inputs::read("reports", bytes));
