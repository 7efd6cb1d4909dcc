//! `warden doctor`: what a configuration and the machine say together.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use super::Exit;
use super::findings::FindingsArgs;
use super::output::Output;
use crate::audit::doctor::{Facts, File, KINDS, Named, Purpose, examine, named_files, ours};
use crate::audit::mosquitto_conf::{Conf, Files};
use crate::config::{self, Config, Handshake, Unknown};
use crate::key_file;
use crate::store::{OpenMode, Store};
use crate::system_user::{self, SystemUser};

/// Look for what is unsafe in a broker's configuration, or cannot work
///
/// Reads the file as the broker would, and looks at all that it names: the plugin and its options, files and who may
/// read them, the database and its key. Changes nothing. Best run as root, who can look everywhere.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLES:
  warden doctor mosquitto.conf
  warden doctor mosquitto.conf --allow no-tls --json
  warden doctor /etc/mosquitto/mosquitto.conf --deny error
  warden doctor --codes")]
pub(super) struct DoctorArgs {
    /// The broker's configuration file
    #[arg(required_unless_present = "codes", value_name = "MOSQUITTO.CONF")]
    file: Option<PathBuf>,
    #[command(flatten)]
    findings: FindingsArgs,
    /// The broker's program, to learn its release from [default: the installed one]
    #[arg(long, value_name = "PATH")]
    mosquitto: Option<PathBuf>,
    /// Whom the broker runs as [default: what the file says, or mosquitto]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

pub(super) async fn run(args: &DoctorArgs, output: &mut Output) -> anyhow::Result<Exit> {
    if let Some(exit) = args.findings.list(KINDS, output)? {
        return Ok(exit);
    }
    let allowed = args.findings.allowances(KINDS)?;
    let conf = Conf::read(args.file.as_deref().unwrap_or(Path::new("")), &OnDisk);
    let mut facts = Facts { release: config::release_of(config::RELEASE_MARK).to_owned(), ..Facts::default() };
    let mut named = named_files(&conf);
    // Where not even the database is known, there is nothing more to look at.
    if let Some(config) = plugin_config(&conf, &mut facts, &mut named) {
        look_at_database(&config, &mut facts).await;
        name_files(&conf, &config, &facts, &mut named);
    }
    let broker = args.mosquitto.clone().or_else(installed_broker);
    if let Some(broker) = &broker {
        facts.broker = release_of(broker);
        facts.openssl = std::fs::read(broker).ok().map(|program| holds(&program, b"libssl.so").is_some());
    }
    let user = args.user.as_deref().or(conf.get("user").map(|line| &*line.value)).unwrap_or("mosquitto");
    let user = system_user::find(user).or_else(|| system_user::find(&system_user::current()));
    let plugins = ours(&conf).map(|plugin| PathBuf::from(&plugin.path));
    let paths: Vec<PathBuf> = named.iter().map(|named| named.path.clone()).chain(plugins).collect();
    facts.files = files(paths, user.as_ref());
    facts.plugin_release = ours(&conf).next().and_then(|plugin| release_in(Path::new(&plugin.path)));
    args.findings.tell(examine(&conf, &named, &facts), &allowed, output)
}

struct OnDisk;

impl Files for OnDisk {
    fn text(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn entries(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
}

/// What the plugin would make of its options, as far as they are good.
fn plugin_config(conf: &Conf, facts: &mut Facts, named: &mut Vec<Named>) -> Option<Config> {
    let plugin = ours(conf).next()?;
    let options = plugin.options.iter().map(|option| (&*option.key, &*option.value));
    let config = match config::from_options(options, config::read) {
        Ok(config) => Some(config),
        Err(problems) => {
            facts.refused_options = problems.iter().map(str::to_owned).collect();
            problems.rest().cloned()
        }
    };
    for option in plugin.options.iter().filter(|option| ["config_file", "database_url_file"].contains(&&*option.key)) {
        // What is not there is refused as an option already.
        let path = PathBuf::from(&option.value);
        if path.exists() {
            let purpose = if option.key == "config_file" { Purpose::Read } else { Purpose::Secret };
            named.push(Named { place: option.place.clone(), what: option.key.clone(), path, purpose });
        }
    }
    facts.defers = config.as_ref().is_some_and(|config| config.unknown == Unknown::Defer);
    facts.handshake = config.as_ref().is_none_or(|config| config.handshake == Handshake::Enforce);
    config
}

async fn look_at_database(config: &Config, facts: &mut Facts) {
    let key = key_file::read(&config.key_file);
    let sealed_with = match Store::open(&config.database, OpenMode::Read).await {
        Ok(mut store) => {
            let id = store.key_id().await;
            facts.passwords = store.any_password().await.unwrap_or_default();
            // Nothing was written; what cannot be closed any more is no concern of its user.
            let _ = store.close().await;
            id.unwrap_or_else(|error| {
                facts.database = Some(error.to_string());
                None
            })
        }
        Err(error) => {
            facts.database = Some(error.to_string());
            None
        }
    };
    match key {
        Ok(key) => {
            facts.other_key = sealed_with.filter(|id| key.named(id).is_none()).map(|id| (key.id().to_string(), id));
        }
        Err(error) => facts.key_file = Some(error.to_string()),
    }
}

/// The files of the plugin that can be used as far as this user can see: what is wrong with others is told already.
fn name_files(conf: &Conf, config: &Config, facts: &Facts, named: &mut Vec<Named>) {
    let place = ours(conf).next().map_or_else(String::new, |plugin| plugin.place.clone());
    let mut name = |what: &str, path: &Path, purpose| {
        named.push(Named { place: place.clone(), what: what.to_owned(), path: path.to_owned(), purpose });
    };
    if let (Some(path), None) = (config.database.path(), &facts.database) {
        name("database", path, Purpose::Write);
    }
    if facts.key_file.is_none() {
        name("key_file", &config.key_file, Purpose::Secret);
    }
    for (what, paths) in [("crl_files", &config.crl_files), ("crl_issuers", &config.crl_issuers)] {
        for path in paths {
            name(what, path, Purpose::Read);
        }
    }
}

fn files(paths: Vec<PathBuf>, user: Option<&SystemUser>) -> BTreeMap<PathBuf, File> {
    let groups = user.map(system_user::groups_of).unwrap_or_default();
    let may = |path: &Path, bits: u32| {
        let Ok(metadata) = std::fs::metadata(path) else { return false };
        user.is_none_or(|user| {
            let shift = if metadata.uid() == user.uid {
                6
            } else if groups.contains(&metadata.gid()) {
                3
            } else {
                0
            };
            user.uid == 0 || metadata.mode() >> shift & bits == bits
        })
    };
    let look = |path: PathBuf| {
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o7777;
        let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let reached = whole.ancestors().skip(1).all(|directory| may(directory, 0o1));
        let directory = whole.parent().is_none_or(|directory| may(directory, 0o3));
        let file =
            File { mode, readable: reached && may(&whole, 0o4), writable: reached && may(&whole, 0o2) && directory };
        Some((path, file))
    };
    paths.into_iter().filter_map(look).collect()
}

fn installed_broker() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|directory| directory.join("mosquitto")).find(|it| it.is_file())
}

/// What a broker says of itself: `mosquitto version 2.0.11`.
fn release_of(broker: &Path) -> Option<(u32, u32, u32)> {
    let said = Command::new(broker).arg("-h").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (_, rest) = said.split_once("mosquitto version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The release that the file of a plugin names.
fn release_in(plugin: &Path) -> Option<String> {
    let (mark, _) = config::RELEASE_MARK.split_once(|c: char| c.is_ascii_digit())?;
    let bytes = std::fs::read(plugin).ok()?;
    // The words alone are there as well, in front of something else.
    let behind = bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark.as_bytes());
    let mut releases = behind.filter_map(|(at, _)| {
        let release = bytes.get(at + mark.len()..)?.split(|byte| *byte == b';').next()?;
        let fits = release.len() <= 32
            && release.first().is_some_and(u8::is_ascii_digit)
            && release.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte));
        String::from_utf8(release.to_vec()).ok().filter(|_| fits)
    });
    releases.next()
}

/// Where bytes hold others.
fn holds(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
