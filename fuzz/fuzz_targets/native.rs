//! Runs the target of its name.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| verigate_fuzz::run("native", data));
