//! Gives `bin/bench counts` the version of the compiler that builds it.

use std::env;
use std::process::Command;

fn main() {
    let compiler = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let output = Command::new(compiler)
        .arg("--version")
        .output()
        .expect("the compiler that cargo uses can be run");
    let version = String::from_utf8(output.stdout).expect("the version is UTF-8");
    println!("cargo::rustc-env=BENCH_COMPILER={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
