//! `warden init`: the database and the key file, made where they are missing and kept where they are not.

use clap::Args;
use rustix::process::geteuid;
use serde_json::json;

use super::Exit;
use super::error::CliError;
use super::output::Output;
use super::place::Place;
use crate::key_file::{self, KeyFileError};
use crate::store::{SchemaState, Store};
use crate::system_user::{self, SystemUser};

/// Make the database and the key file, or bring the database up to date
///
/// What is there is kept. Run as root, it gives what it makes to the broker's user.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  sudo warden init
  sudo warden init --owner mqtt
  warden init --database ./warden.db")]
pub(super) struct InitArgs {
    /// Who gets the files [default: mosquitto, if run as root and there is such a user]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
}

pub(super) async fn run(args: &InitArgs, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    let owner = owner(args)?;
    let ids = owner.as_ref().map(|owner| (owner.uid, owner.gid));
    let (mut store, created) = Store::create(&place.database, ids).await?;
    let (key, new_key) = match (key_file::read(&place.key_file), store.key_id().await?) {
        (Ok(key), _) => (key, false),
        (Err(KeyFileError::Missing { path }), Some(database)) => {
            return Err(CliError::KeyLost { database, path }.into());
        }
        (Err(KeyFileError::Missing { .. }), None) => (key_file::create(&place.key_file, ids)?, true),
        (Err(error), _) => return Err(error.into()),
    };
    store.set_key_id(key.id()).await?;
    if let Some(database) = store.key_id().await?.filter(|id| key.named(id).is_none()) {
        let path = place.key_file.clone();
        return Err(CliError::OtherKey { database, file: key.id().to_owned(), path }.into());
    }
    let schema = store.status().await?.schema;
    store.close().await?;
    let migrated = !created.new && created.before != SchemaState::Current { version: schema };
    if output.is_json() {
        output.json(&json!({
            "database": place.database.to_string(),
            "database_created": created.new,
            "schema": schema,
            "schema_migrated": migrated,
            "key_file": place.key_file,
            "key_created": new_key,
            "key_id": key.id(),
            "owner": owner.as_ref().map(|owner| &owner.name),
        }))?;
    } else {
        let made = |new| if new { "made" } else { "kept" };
        let database = if migrated { "brought up to date" } else { made(created.new) };
        output.pairs(&[
            ("database", format!("{}  {database}, schema {schema}", place.database)),
            ("key file", format!("{}  {}, key {}", place.key_file.display(), made(new_key), key.id())),
        ])?;
    }
    if geteuid().is_root() && owner.is_none() {
        output.note("there is no user `mosquitto`: see to it that the broker can use both files, or name its user with `--owner`")?;
    }
    if new_key {
        output.note("keep a copy of the key file in a safe place: without it no pre-shared key can be used again")?;
    }
    Ok(Exit::Done)
}

/// Who is to have the files, if not the one who runs the command.
fn owner(args: &InitArgs) -> Result<Option<SystemUser>, CliError> {
    let uid = geteuid();
    match &args.owner {
        Some(name) => {
            let user = system_user::find(name).ok_or_else(|| CliError::NoSuchUser { name: name.clone() })?;
            if uid.is_root() || user.uid == uid.as_raw() { Ok(Some(user)) } else { Err(CliError::NotRoot) }
        }
        None if uid.is_root() => Ok(system_user::find("mosquitto")),
        None => Ok(None),
    }
}
