//! `warden db`: what concerns the database as a whole.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Exit;
use super::output::Output;
use super::place::Place;
use crate::store::Beyond;

/// Show the rights that the plugin needs in a database on a server
#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    GrantSql(GrantSqlArgs),
}

/// Write the statements that give the plugin's user the rights that it needs
///
/// It may then read what the plugin follows, and change nothing unless that is asked for. Whoever owns the tables can run them.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden db grant-sql --plugin-role mosquitto
  warden db grant-sql --plugin-role mosquitto --heartbeat --upgrade-passwords
  warden db grant-sql --plugin-role mosquitto@10.0.0.%")]
pub(super) struct GrantSqlArgs {
    /// The plugin's user: a role of PostgreSQL, a user or user@host of MariaDB or MySQL
    #[arg(long, value_name = "NAME")]
    plugin_role: String,
    /// It also registers its broker (option `broker_name`): it may write to the table of brokers
    #[arg(long)]
    heartbeat: bool,
    /// Also what `password_upgrade` needs: to replace the secrets of credentials
    #[arg(long)]
    upgrade_passwords: bool,
}

pub(super) async fn run(command: DbCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let DbCommand::GrantSql(GrantSqlArgs { plugin_role, heartbeat, upgrade_passwords }) = command;
    let beyond = Beyond { heartbeat, upgrade_passwords };
    let statements = place.read(async |store| store.grants(&plugin_role, beyond).await).await?;
    if output.is_json() {
        output.json(&json!(statements))?;
    } else {
        for statement in &statements {
            output.line(statement)?;
        }
    }
    if statements.is_empty() {
        output.note("a file knows no users: whoever may write it may do everything")?;
    }
    Ok(Exit::Done)
}
