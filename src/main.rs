//! The command's door.

use std::process::ExitCode;

use mosquitto_warden::cli;

fn main() -> ExitCode {
    let cli = cli::parse();
    match cli::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => cli::report(&error).into(),
    }
}
