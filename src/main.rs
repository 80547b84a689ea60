//! The `verigate` command line.

fn main() {}
