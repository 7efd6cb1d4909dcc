//! A table of devices to be provisioned: CSV with a header (RFC 4180), UTF-8.
//!
//! | column | holds |
//! |---|---|
//! | `name` | the device's name; the only one that must be there |
//! | `cn` | the common name of its certificate |
//! | `psk_identity` | its PSK identity; without `psk_key` a key is made |
//! | `psk_key` | a key that is there already, in hexadecimal digits |
//! | `roles` | names, with `;` between them |
//! | `attributes` | `name=value`, with `;` between them |
//! | `client_id` | a pattern for its client ids |

use std::collections::{BTreeMap, HashMap};

use csv::StringRecord;

use super::plan::{Credential, Device, Plan, Secret, Weight, fault_of_name};
use crate::credential::psk::Psk;
use crate::policy::rule::ClientIdPattern;

const COLUMNS: [&str; 7] = ["name", "cn", "psk_identity", "psk_key", "roles", "attributes", "client_id"];

/// What every device of a table gets, beside what its line says.
#[derive(Debug, Clone, Default)]
pub struct ForEach {
    /// A certificate with its name as common name, where its line names none.
    pub cn: bool,
    /// A pre-shared key for its name, where its line names no identity.
    pub psk: bool,
    pub roles: Vec<String>,
}

/// Makes a plan of a table. Who is in its lines twice, as a name, an identity or a key, is a mistake.
#[must_use]
pub fn plan(bytes: &[u8], each: &ForEach) -> Plan {
    let mut plan = Plan::default();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(bytes);
    let columns = match reader.headers().map_err(|error| error.to_string()).and_then(columns) {
        Ok(columns) => columns,
        Err(words) => {
            plan.find(Weight::Mistake, 1, words);
            return plan;
        }
    };
    let mut taken = Taken::default();
    let mut row = StringRecord::new();
    loop {
        let line = usize::try_from(reader.position().line()).unwrap_or(usize::MAX);
        match reader.read_record(&mut row) {
            Ok(false) => return plan,
            Ok(true) => {
                let line = row.position().map_or(line, |at| line_of(bytes, at));
                let device = device(&columns, &row, each, line).and_then(|device| taken.by(&device).map(|()| device));
                match device {
                    Ok(device) => plan.devices.push(device),
                    Err(words) => plan.find(Weight::Mistake, line, words),
                }
            }
            Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                plan.find(Weight::Mistake, line, "the line is not UTF-8");
            }
            Err(error) => {
                plan.find(Weight::Mistake, line, error.to_string());
                return plan;
            }
        }
    }
}

/// The line on which a row begins; blank lines before it are part of where the reader thinks it does.
fn line_of(bytes: &[u8], at: &csv::Position) -> usize {
    let start = usize::try_from(at.byte()).unwrap_or(usize::MAX);
    let behind = bytes.get(start..).unwrap_or_default().iter();
    let blank = behind.take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    usize::try_from(at.line()).unwrap_or(usize::MAX).saturating_add(blank)
}

/// Which column stands where.
fn columns(header: &StringRecord) -> Result<HashMap<&'static str, usize>, String> {
    let mut columns = HashMap::new();
    for (index, name) in header.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}');
        let known = COLUMNS.into_iter().find(|known| *known == name);
        let Some(known) = known else {
            return Err(format!("unknown column `{name}`; there are {}", COLUMNS.join(", ")));
        };
        if columns.insert(known, index).is_some() {
            return Err(format!("column `{name}` is there twice"));
        }
    }
    if columns.contains_key("name") { Ok(columns) } else { Err("the first line has no column `name`".to_owned()) }
}

fn device(
    columns: &HashMap<&'static str, usize>,
    row: &StringRecord,
    each: &ForEach,
    line: usize,
) -> Result<Device, String> {
    if row.len() != columns.len() {
        return Err(format!("the line has {} fields, the first one {}", row.len(), columns.len()));
    }
    let field = |name: &str| {
        let text = columns.get(name).and_then(|index| row.get(*index)).unwrap_or_default();
        (!text.is_empty()).then_some(text)
    };
    let name = field("name").unwrap_or_default();
    if let Some(fault) = fault_of_name(name) {
        return Err(if name.is_empty() { fault.to_owned() } else { format!("`{name}`: {fault}") });
    }
    let named = |error: &dyn std::fmt::Display| format!("`{name}`: {error}");
    let mut credentials = Vec::new();
    if let Some(cn) = field("cn").or(each.cn.then_some(name)) {
        credentials.push(Credential { identity: cn.to_owned(), secret: Secret::CommonName });
    }
    let key = field("psk_key").map(Psk::from_hex).transpose().map_err(|error| named(&error))?;
    match (field("psk_identity").or(each.psk.then_some(name)), key) {
        (Some(identity), Some(key)) => {
            credentials.push(Credential { identity: identity.to_owned(), secret: Secret::Psk(key) });
        }
        (Some(identity), None) => {
            credentials.push(Credential { identity: identity.to_owned(), secret: Secret::NewPsk });
        }
        (None, Some(_)) => return Err(named(&"a key without `psk_identity`")),
        (None, None) => {}
    }
    if let Some(bad) = credentials.iter().find(|it| it.identity.contains(char::is_control)) {
        return Err(named(&format!("the identity `{}` holds control characters", bad.identity.escape_default())));
    }
    let mut roles = each.roles.clone();
    roles.extend(list(field("roles")).map(str::to_owned));
    roles.sort();
    roles.dedup();
    let client_id = field("client_id").map(ClientIdPattern::parse).transpose().map_err(|error| named(&error))?;
    Ok(Device {
        line,
        name: name.to_owned(),
        client_id: client_id.map(|pattern| pattern.as_str().to_owned()),
        attributes: attributes(field("attributes")).map_err(|error| named(&error))?,
        roles,
        credentials,
        suspended: None,
    })
}

fn list(field: Option<&str>) -> impl Iterator<Item = &str> {
    field.unwrap_or_default().split(';').map(str::trim).filter(|word| !word.is_empty())
}

fn attributes(field: Option<&str>) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    for pair in list(field) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not `name=value`"))?;
        if name.is_empty() || name.contains(['/', '+', '#', '%', '{', '}']) {
            return Err(format!(
                "`{name}` cannot be the name of an attribute: it is empty or holds one of `/ + # % {{ }}`"
            ));
        }
        if attributes.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("attribute `{name}` is there twice"));
        }
    }
    Ok(attributes)
}

/// What lines have claimed, each with the device that did.
#[derive(Debug, Default)]
struct Taken {
    /// A user name means one device, whatever it is written as.
    user_names: HashMap<String, (String, usize)>,
    names: HashMap<String, usize>,
    keys: HashMap<[u8; 32], usize>,
}

impl Taken {
    fn by(&mut self, device: &Device) -> Result<(), String> {
        let (name, line) = (&device.name, device.line);
        if let Some(first) = self.names.get(name) {
            return Err(format!("`{name}` is there already, in line {first}"));
        }
        let identities = device.credentials.iter().map(|credential| &credential.identity);
        for user_name in std::iter::once(name).chain(identities.clone()) {
            if let Some((_, first)) = self.user_names.get(user_name).filter(|(owner, _)| owner != name) {
                return Err(format!("`{name}`: `{user_name}` already means the device of line {first}"));
            }
        }
        for credential in &device.credentials {
            if let Secret::Psk(key) = &credential.secret
                && let Some(first) = self.keys.insert(*blake3::hash(key.hex().as_bytes()).as_bytes(), line)
            {
                return Err(format!("`{name}` has the same key as line {first}; every device needs its own"));
            }
        }
        self.names.insert(name.clone(), line);
        for user_name in std::iter::once(name).chain(identities) {
            self.user_names.insert(user_name.clone(), (name.clone(), line));
        }
        Ok(())
    }
}
