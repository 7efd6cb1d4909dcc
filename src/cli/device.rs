//! `warden device`.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::confirm::ConfirmArgs;
use super::credential;
use super::device_import::{self, ImportArgs};
use super::device_revoke::{self, RevokeArgs};
use super::key::{self, FreshKey};
use super::output::{Output, or_dash};
use super::password::Given;
use super::place::Place;
use super::rule::with_changed;
use super::wait::WaitArgs;
use super::words::{StatusWord, attribute, client_id_pattern, moment};
use crate::credential::certificate::Field;
use crate::credential::psk::Psk;
use crate::store::credential::{NewCredential, Proof};
use crate::store::device::{DeviceChange, DeviceFilter, DeviceRecord, DeviceSummary, NewDevice, Status};

/// Add, import, list, show, change and remove devices; suspend, revoke and activate them
#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    Add(AddArgs),
    Import(ImportArgs),
    List(ListArgs),
    Show(ShowArgs),
    Set(SetArgs),
    Suspend(SuspendArgs),
    Revoke(RevokeArgs),
    Activate(ActivateArgs),
    Remove(RemoveArgs),
}

/// Add a device, with credentials and roles if they are named
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device add device-001 --cn --role sensor
  warden device add device-002 --psk --role sensor --client-id '%u'
  warden device add device-003 --cn d3.fleet.example --attribute site=oslo \\
    --role sensor --role logger
  openssl rand -base64 18 | tee device-004.password |
    warden device add device-004 --password --stdin --role sensor
  warden device add device-005 --role sensor --bootstrap \\
    --until 2036-06-30T00:00:00Z")]
pub(super) struct AddArgs {
    /// The device's name
    device: String,
    /// It has a client certificate with this common name [default: the name of the device]
    #[arg(long, value_name = "NAME")]
    #[expect(clippy::option_option, reason = "what clap takes for an option with an optional value")]
    cn: Option<Option<String>>,
    /// It gets a pre-shared key, for this identity [default: the name of the device]; the key is shown this once
    #[arg(long, value_name = "IDENTITY")]
    #[expect(clippy::option_option, reason = "what clap takes for an option with an optional value")]
    psk: Option<Option<String>>,
    /// It has a password, for this user name [default: the name of the device]; it is asked for on the terminal
    #[arg(long, value_name = "USER_NAME")]
    #[expect(clippy::option_option, reason = "what clap takes for an option with an optional value")]
    password: Option<Option<String>>,
    /// Read the password from standard input instead
    #[arg(long, requires = "password")]
    stdin: bool,
    /// It gets a pre-shared key to begin with, for this identity, which gives it one role alone and is over with its first
    /// certificate [default: the name of the device with `-bootstrap` behind it]; the key is shown this once
    #[arg(long, value_name = "IDENTITY", conflicts_with = "cn")]
    #[expect(clippy::option_option, reason = "what clap takes for an option with an optional value")]
    bootstrap: Option<Option<String>>,
    /// The role that it begins with
    #[arg(long, value_name = "ROLE", default_value = "bootstrap", requires = "bootstrap")]
    bootstrap_role: String,
    /// Until when it may begin, for instance 2026-01-31T12:00:00Z [default: until it has its first certificate]
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "bootstrap")]
    until: Option<String>,
    /// It has this role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Which client ids it may use; `%u` is its name, `*` any characters
    #[arg(long, value_name = "PATTERN", value_parser = client_id_pattern)]
    client_id: Option<String>,
    /// For `%{NAME}` in topics; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// Keep a device of this name that is there already, as it is
    #[arg(long)]
    if_missing: bool,
}

/// List devices
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device list
  warden device list 'oslo-*' --status revoked
  warden device list --role sensor --json | jq -r '.[].name'")]
pub(super) struct ListArgs {
    /// Names like this, with `*` and `?`
    pattern: Option<String>,
    /// Only those with this status
    #[arg(long)]
    status: Option<StatusWord>,
    /// Only those with this role
    #[arg(long)]
    role: Option<String>,
}

/// Show a device with its credentials and roles
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device show device-001
  warden device show device-001 --json")]
pub(super) struct ShowArgs {
    /// The device's name
    device: String,
}

/// Change a device; what is not mentioned stays
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device set device-001 --client-id '%u-*'
  warden device set device-001 --attribute site=bergen --remove-attribute floor
  warden device set device-001 --name device-0001")]
#[command(group(
    ArgGroup::new("change")
        .args(["name", "client_id", "any_client_id", "attributes", "remove_attributes"])
        .multiple(true)
        .required(true)
))]
pub(super) struct SetArgs {
    /// The device's name
    device: String,
    /// Its new name
    #[arg(long)]
    name: Option<String>,
    /// Which client ids it may use; `%u` is its name, `*` any characters
    #[arg(long, value_name = "PATTERN", value_parser = client_id_pattern)]
    client_id: Option<String>,
    /// It may use any client id
    #[arg(long, conflicts_with = "client_id")]
    any_client_id: bool,
    /// For `%{NAME}` in topics; may be repeated
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// It no longer has this attribute; may be repeated
    #[arg(long = "remove-attribute", value_name = "NAME")]
    remove_attributes: Vec<String>,
}

/// Keep a device out until it is activated again; it keeps its subscriptions
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device suspend device-001 --reason 'sends too much'")]
pub(super) struct SuspendArgs {
    /// The device's name
    device: String,
    /// Why, for whoever looks later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Let a suspended or revoked device in again, by those of its credentials that are not revoked
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device activate device-001")]
pub(super) struct ActivateArgs {
    /// The device's name
    device: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Remove a device with its credentials
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden device remove device-001
  warden device remove device-001 --yes")]
pub(super) struct RemoveArgs {
    /// The device's name
    device: String,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(command: DeviceCommand, place: &Place, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        DeviceCommand::Add(args) => add(args, place, output).await?,
        DeviceCommand::Import(args) => return device_import::run(args, place, output).await,
        DeviceCommand::List(ListArgs { pattern, status, role }) => {
            let filter = DeviceFilter { status: status.map(Into::into), role, name: pattern };
            let devices = place.read(async |store| store.devices(&filter).await).await?;
            list(&devices, output)?;
        }
        DeviceCommand::Show(args) => {
            let record = place.read(async |store| store.device(&args.device).await).await?;
            show(&record, output)?;
        }
        DeviceCommand::Set(args) => {
            let client_id = if args.any_client_id { Some(None) } else { args.client_id.map(Some) };
            let change = DeviceChange {
                name: args.name,
                client_id,
                attributes: args.attributes.into_iter().collect(),
                attributes_removed: args.remove_attributes,
            };
            let record = place.write(async |store| store.set_device(&args.device, &change).await).await?;
            show(&record, output)?;
        }
        DeviceCommand::Suspend(SuspendArgs { device, reason, wait }) => {
            return set_status(&device, Status::Suspended, reason.as_deref(), &wait, place, output).await;
        }
        DeviceCommand::Revoke(args) => return device_revoke::run(args, place, output).await,
        DeviceCommand::Activate(ActivateArgs { device, wait }) => {
            return set_status(&device, Status::Active, None, &wait, place, output).await;
        }
        DeviceCommand::Remove(RemoveArgs { device, confirm, wait }) => {
            let mut store = place.open().await?;
            store.device(&device).await?;
            confirm.confirm(format!("removing device `{device}` with its credentials"))?;
            store.remove_device(&device).await?;
            store.close().await?;
            let object = json!({ "device": device, "changed": true });
            return wait.finish(place, output, object, &format!("device `{device}` removed")).await;
        }
    }
    Ok(Exit::Done)
}

async fn add(args: AddArgs, place: &Place, output: &mut Output) -> anyhow::Result<()> {
    let mut store = place.open().await?;
    let identity = |named: Option<String>| named.unwrap_or_else(|| args.device.clone());
    let with_cn = |named| NewCredential::new(identity(named), Proof::X509(Field::Cn));
    let mut credentials: Vec<_> = args.cn.into_iter().map(with_cn).collect();
    let fresh = match args.psk {
        Some(named) => {
            let sealing = key::sealing_key(place, &mut store).await?;
            let fresh = FreshKey::generate(&identity(named), Psk::DEFAULT_BYTES)?;
            credentials.push(NewCredential::new(fresh.identity.clone(), fresh.sealed(&sealing)?));
            Some(fresh)
        }
        None => None,
    };
    if let Some(named) = args.password {
        let user_name = identity(named);
        let given = if args.stdin { Given::Stdin } else { Given::Prompt };
        let proof = given.hashed(&[&args.device, &user_name], place.password_cost)?;
        credentials.push(NewCredential::new(user_name, proof));
    }
    let beginning = match args.bootstrap {
        Some(named) => {
            let identity = named.unwrap_or_else(|| format!("{}-bootstrap", args.device));
            let sealing = key::sealing_key(place, &mut store).await?;
            let fresh = FreshKey::generate(&identity, Psk::DEFAULT_BYTES)?;
            credentials.push(NewCredential {
                only_role: Some(args.bootstrap_role),
                not_after: args.until,
                ..NewCredential::new(identity, fresh.sealed(&sealing)?)
            });
            Some(fresh)
        }
        None => None,
    };
    let new = NewDevice {
        name: args.device,
        client_id: args.client_id,
        attributes: args.attributes.into_iter().collect(),
        credentials,
        roles: args.roles,
    };
    let (record, added) = store.add_device(&new, args.if_missing).await?;
    store.close().await?;
    // The key of a device that was there already is not this one.
    let fresh = fresh.filter(|_| added);
    let beginning = beginning.filter(|_| added);
    if output.is_json() {
        let mut object = with_changed(to_json(&record), added);
        for (name, fresh) in [("psk", &fresh), ("bootstrap", &beginning)] {
            if let (Some(object), Some(fresh)) = (object.as_object_mut(), fresh) {
                object.insert(name.to_owned(), fresh.to_json());
            }
        }
        return output.json(&object);
    }
    if !added {
        return output.line(&format!("device `{}` is there already", record.device.name));
    }
    output.line(&format!("device `{}` added", record.device.name))?;
    fresh.iter().chain(&beginning).try_for_each(|fresh| fresh.show(output))
}

pub(super) async fn set_status(
    device: &str,
    status: Status,
    reason: Option<&str>,
    wait: &WaitArgs,
    place: &Place,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let changed = place.write(async |store| store.set_status(device, status, reason).await).await?;
    let word = status.as_str();
    let object = json!({ "device": device, "status": word, "changed": changed });
    let line = format!("device `{device}` is {}{word}", if changed { "now " } else { "already " });
    wait.finish(place, output, object, &line).await
}

fn list(devices: &[DeviceSummary], output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        let words = |list: &str| list.split(", ").filter(|word| !word.is_empty()).map(Value::from).collect::<Value>();
        let object = |device: &DeviceSummary| {
            json!({
                "name": device.name,
                "status": device.status,
                "roles": words(&device.roles),
                "credentials": words(&device.credentials),
                "updated_at": device.updated_at,
            })
        };
        return output.json(&devices.iter().map(object).collect());
    }
    let rows = devices.iter().map(|device| {
        vec![device.name.clone(), device.status.clone(), device.roles.clone(), device.credentials.clone()]
    });
    output.table(&["DEVICE", "STATUS", "ROLES", "CREDENTIALS"], rows.collect())
}

fn show(record: &DeviceRecord, output: &mut Output) -> anyhow::Result<()> {
    if output.is_json() {
        return output.json(&to_json(record));
    }
    let device = &record.device;
    let reason = device.status_reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    output.pairs(&[
        ("device", device.name.clone()),
        ("status", format!("{}{reason}", device.status)),
        ("client id", or_dash(device.client_id.as_deref())),
        ("attributes", device.attributes.clone()),
        ("roles", or_dash(Some(record.roles.join(", ").as_str()).filter(|roles| !roles.is_empty()))),
        ("created", device.created_at.clone()),
        ("updated", device.updated_at.clone()),
    ])?;
    if record.credentials.is_empty() {
        return Ok(());
    }
    output.line("")?;
    credential::show(&record.credentials, output)
}

fn to_json(record: &DeviceRecord) -> Value {
    let device = &record.device;
    // The database sees to it that it is JSON; should it not be, the text itself says more than nothing.
    let attributes =
        serde_json::from_str(&device.attributes).unwrap_or_else(|_| Value::from(device.attributes.clone()));
    json!({
        "name": device.name,
        "status": device.status,
        "status_reason": device.status_reason,
        "client_id": device.client_id,
        "attributes": attributes,
        "roles": record.roles,
        "credentials": record.credentials.iter().map(credential::to_json).collect::<Value>(),
        "created_at": device.created_at,
        "updated_at": device.updated_at,
    })
}
