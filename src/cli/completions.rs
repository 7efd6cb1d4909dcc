//! `warden completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::Output;
use super::{Cli, Exit};

/// Write what a shell needs to complete `warden`
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden completions bash > /etc/bash_completion.d/warden
  warden completions zsh > /usr/local/share/zsh/site-functions/_warden
  warden completions fish > ~/.config/fish/completions/warden.fish")]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, output: &mut Output) -> anyhow::Result<Exit> {
    // Into memory first: clap_complete panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "warden", &mut script);
    output.raw(&script)?;
    Ok(Exit::Done)
}
