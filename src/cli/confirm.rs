//! Asking before something is gone.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use super::error::CliError;

#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl ConfirmArgs {
    /// Asks on a terminal whether to go on; elsewhere, only `--yes` will do.
    pub(super) fn confirm(&self, what: String) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
        if !(stdin.is_terminal() && stderr.is_terminal()) {
            return Err(CliError::Unconfirmed { what }.into());
        }
        write!(stderr, "{}: are you sure? [y/N] ", super::output::printable(&what))?;
        stderr.flush()?;
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer)?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CliError::Declined { what }.into()),
        }
    }
}
