//! The `throughline` binary: the only place that may end the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    ExitCode::from(throughline::app::main(&words))
}
