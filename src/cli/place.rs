//! Where the database and the key file are.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use crate::config::{self, Config};
use crate::credential::password::Cost;
use crate::database::Database;
use crate::store::{OpenMode, Store, StoreError};

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct PlaceArgs {
    /// The database
    ///
    /// The path of an SQLite file, or an address: `postgres://user@host/database`, `mysql://user@host/database`.
    ///
    /// [default: what the configuration file says, or /var/lib/mosquitto/warden.db]
    #[arg(long, global = true, value_name = "PATH", env = "WARDEN_DATABASE", hide_env_values = true)]
    database: Option<String>,

    /// The file with the key that pre-shared keys are sealed with
    ///
    /// [default: what the configuration file says; where `--database` is given, beside it, ending in .key, or
    /// /var/lib/mosquitto/warden.key for a server]
    #[arg(long, global = true, value_name = "PATH", env = "WARDEN_KEY_FILE", hide_env_values = true)]
    key_file: Option<PathBuf>,

    /// The plugin's configuration file, to take the two from
    #[arg(long, global = true, value_name = "FILE", env = "WARDEN_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

/// Where the database and the key file are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) database: Database,
    pub(super) key_file: PathBuf,
    /// What new hashes of passwords cost.
    pub(super) password_cost: Cost,
}

impl PlaceArgs {
    pub(super) fn resolve(self) -> Result<Place, CliError> {
        let config = match &self.config {
            Some(path) => config::from_file(path, config::read).map_err(CliError::Config)?,
            None => Config::default(),
        };
        let password_cost = config.password_cost;
        let (database, key_file) = match self.database {
            Some(database) => {
                let parsed = Database::parse(&database).map_err(|error| CliError::Nonsense(error.to_string()))?;
                // The environment is for the eyes of its owner.
                let shown = std::env::args_os().any(|argument| argument.to_string_lossy().contains(&database));
                if shown && parsed.has_password() {
                    return Err(CliError::PasswordShown);
                }
                let key_file = config::default_key_file(&parsed);
                (parsed, key_file)
            }
            None => (config.database, config.key_file),
        };
        Ok(Place { database, key_file: self.key_file.unwrap_or(key_file), password_cost })
    }
}

impl Place {
    /// Opens the database for changing it, hands it over, and closes it again.
    pub(super) async fn write<T>(
        &self,
        verb: impl AsyncFnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(OpenMode::Write, verb).await
    }

    /// The same for reading it.
    pub(super) async fn read<T>(
        &self,
        verb: impl AsyncFnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(OpenMode::Read, verb).await
    }

    /// The database, for changing it in more than one step. Whoever takes it closes it.
    pub(super) async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.database, OpenMode::Write).await
    }

    async fn with<T>(
        &self,
        mode: OpenMode,
        verb: impl AsyncFnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut store = Store::open(&self.database, mode).await?;
        let answer = verb(&mut store).await?;
        // Dropped, it would be closed by a thread that may not live that long, and leave its files behind.
        store.close().await?;
        Ok(answer)
    }
}
