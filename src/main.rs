//! The `quorate` program: the server and its command line.

fn main() {}
