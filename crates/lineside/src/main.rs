//! The `lineside` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lineside::command::run(std::env::args_os().skip(1))
}
