//! Rows become policy values.
//!
//! A row that makes no sense makes its own device or role unreadable, which refuses it; it never stops the reading of
//! others. This is the only place that knows how a value is written in the database.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{ColumnIndex, Database, Decode, Row, Type};

use crate::credential::certificate;
use crate::policy::certificate::CertificateId;
use crate::policy::decision::RuleId;
use crate::policy::device::{Credential, CredentialKind, Device, DeviceId, DeviceStatus, Limit, RoleId, UnixSeconds};
use crate::policy::role::{ClientIdBinding, Role, RuleRow, UnreadableRule};
use crate::policy::rule::{Actions, Attributes, ClientIdPattern, Effect, Rule, RuleTopic};

/// What is wrong with a row, in words for the operator.
pub(super) type Fault = Box<str>;

/// A device in the making: its own row, to which its credentials and roles come.
pub(super) struct DeviceDraft {
    pub(super) id: DeviceId,
    name: Arc<str>,
    status: DeviceStatus,
    client_id: ClientIdBinding,
    attributes: Attributes,
    credentials: Vec<Credential>,
    roles: Vec<RoleId>,
    unreadable: Option<Fault>,
}

impl DeviceDraft {
    /// From a row of `id, name, status, client_id, attributes`.
    pub(super) fn from_row(row: &dyn Columns) -> Result<Self, sqlx::Error> {
        let mut unreadable = None;
        let mut fault = |why: Fault| {
            unreadable.get_or_insert(why);
        };
        let id = row_number(row, "id")?;
        let name = row.text("name").and_then(required("name")).unwrap_or_else(|why| {
            fault(why);
            // No name can be looked up that holds a NUL, so this one is nobody's.
            format!("\0unreadable-{id}").into()
        });
        let name = Arc::from(name);
        let status =
            row.text("status").and_then(required("status")).and_then(|word| status(&word)).unwrap_or_else(|why| {
                fault(why);
                DeviceStatus::Revoked
            });
        let attributes = row.text("attributes").and_then(attributes).unwrap_or_else(|why| {
            fault(why);
            Attributes::default()
        });
        let client_id = client_id(row);
        if matches!(client_id, ClientIdBinding::Unreadable) {
            fault("its `client_id` is not a pattern".into());
        }
        Ok(Self { id, name, status, client_id, attributes, credentials: Vec::new(), roles: Vec::new(), unreadable })
    }

    /// Takes a row of `kind, identity, secret, issuer, role_id, status, not_before, not_after` (the times in RFC 3339).
    pub(super) fn add_credential(&mut self, row: &dyn Columns) {
        match credential(row) {
            Ok(credential) if credential.identity == self.name => {
                self.credentials.push(Credential { identity: Arc::clone(&self.name), ..credential });
            }
            Ok(credential) => self.credentials.push(credential),
            Err(why) => {
                self.unreadable.get_or_insert(why);
            }
        }
    }

    /// Takes one of its roles.
    pub(super) fn add_role(&mut self, role: RoleId) {
        self.roles.push(role);
    }

    /// `lists` are those of the devices that are read together.
    pub(super) fn finish(self, lists: &mut RoleLists) -> Device {
        let roles = lists.shared(&self.roles);
        Device {
            id: self.id,
            name: self.name,
            status: self.status,
            client_id: self.client_id,
            attributes: self.attributes,
            credentials: self.credentials.into(),
            roles,
            unreadable: self.unreadable,
        }
    }
}

/// The lists of roles that were read, each kept once for all the devices that have it.
#[derive(Default)]
pub(super) struct RoleLists(HashSet<Arc<[RoleId]>>);

impl RoleLists {
    fn shared(&mut self, roles: &[RoleId]) -> Arc<[RoleId]> {
        if let Some(known) = self.0.get(roles) {
            return Arc::clone(known);
        }
        let new: Arc<[RoleId]> = roles.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// A role in the making: its own row, to which its rules come.
pub(super) struct RoleDraft {
    pub(super) id: RoleId,
    name: Box<str>,
    client_id: ClientIdBinding,
    rules: Vec<RuleRow>,
}

impl RoleDraft {
    /// From a row of `id, name, client_id`.
    pub(super) fn from_row(row: &dyn Columns) -> Result<Self, sqlx::Error> {
        let id = row_number(row, "id")?;
        let name = row.text("name").and_then(required("name")).unwrap_or_else(|_| format!("unreadable-{id}").into());
        Ok(Self { id, name, client_id: client_id(row), rules: Vec::new() })
    }

    /// Takes a row of `id, effect, action, topic, max_qos, retain`.
    pub(super) fn add_rule(&mut self, row: &dyn Columns) -> Result<(), sqlx::Error> {
        let id = row_number(row, "id")?;
        self.rules.push(rule(row, id));
        Ok(())
    }

    pub(super) fn finish(self) -> Role {
        Role::compile(self.id, &self.name, self.client_id, self.rules)
    }
}

/// A row, of whichever database.
pub(super) trait Columns {
    /// The text in a column, or `None` for NULL; text that is not UTF-8 is a fault.
    fn text(&self, column: &'static str) -> Result<Option<Box<str>>, Fault>;
    /// The number in a column, or `None` for NULL.
    fn number(&self, column: &'static str) -> Result<Option<i64>, Fault>;
}

impl<R, D> Columns for R
where
    R: Row<Database = D>,
    D: Database,
    for<'q> &'static str: ColumnIndex<R>,
    for<'q> String: Decode<'q, D> + Type<D>,
    for<'q> i64: Decode<'q, D> + Type<D>,
{
    fn text(&self, column: &'static str) -> Result<Option<Box<str>>, Fault> {
        self.try_get::<Option<String>, _>(column)
            .map(|text| text.map(Into::into))
            .map_err(|_| format!("its `{column}` is not a text").into())
    }

    fn number(&self, column: &'static str) -> Result<Option<i64>, Fault> {
        self.try_get::<Option<i64>, _>(column).map_err(|_| format!("its `{column}` is not a whole number").into())
    }
}

/// The number of a row. Without it there is nothing that a fault could be pinned to.
pub(super) fn row_number(row: &dyn Columns, column: &'static str) -> Result<i64, sqlx::Error> {
    match row.number(column) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(sqlx::Error::Decode(format!("`{column}` is NULL").into())),
        Err(why) => Err(sqlx::Error::Decode(String::from(why).into())),
    }
}

fn required(column: &'static str) -> impl Fn(Option<Box<str>>) -> Result<Box<str>, Fault> {
    move |text| match text {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(format!("its `{column}` is empty").into()),
    }
}

fn status(word: &str) -> Result<DeviceStatus, Fault> {
    match word {
        "active" => Ok(DeviceStatus::Active),
        "suspended" => Ok(DeviceStatus::Suspended),
        "revoked" => Ok(DeviceStatus::Revoked),
        other => Err(format!("its `status` is `{}`", other.escape_default()).into()),
    }
}

/// The attributes that can stand in a topic: texts, numbers and truth values of a JSON object.
pub(super) fn attributes(text: Option<Box<str>>) -> Result<Attributes, Fault> {
    use serde_json::Value;

    // Nearly every device has none.
    let text = text.unwrap_or_default();
    if text.is_empty() || &*text == "{}" {
        return Ok(Attributes::default());
    }
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(&text).map_err(|_| "its `attributes` are not a JSON object")?;
    let usable = object.into_iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some((key, text)),
        Value::Number(number) => Some((key, number.to_string())),
        Value::Bool(truth) => Some((key, truth.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    Ok(usable.collect())
}

fn client_id(row: &dyn Columns) -> ClientIdBinding {
    match row.text("client_id") {
        Ok(None) => ClientIdBinding::Any,
        Ok(Some(text)) => ClientIdPattern::parse(&text).map_or(ClientIdBinding::Unreadable, ClientIdBinding::Pattern),
        Err(_) => ClientIdBinding::Unreadable,
    }
}

fn credential(row: &dyn Columns) -> Result<Credential, Fault> {
    let of_credential = |why: Fault| -> Fault { format!("one of its credentials cannot be read: {why}").into() };
    let kind = row.text("kind").and_then(required("kind")).map_err(of_credential)?;
    let kind = CredentialKind::parse(&kind)
        .ok_or_else(|| of_credential(format!("its `kind` is `{}`", kind.escape_default()).into()))?;
    let status = row.text("status").and_then(required("status")).map_err(of_credential)?;
    let revoked = match &*status {
        "active" => false,
        "revoked" => true,
        other => return Err(of_credential(format!("its `status` is `{}`", other.escape_default()).into())),
    };
    let limit = Limit {
        issuer: row.text("issuer").and_then(key_digest).map_err(of_credential)?,
        role: row.number("role_id").map_err(of_credential)?,
        not_before: moment(row, "not_before").map_err(of_credential)?,
        not_after: moment(row, "not_after").map_err(of_credential)?,
    };
    Ok(Credential {
        kind,
        identity: row.text("identity").and_then(required("identity")).map_err(of_credential)?.into(),
        secret: row.text("secret").map_err(of_credential)?,
        revoked,
        limits: limit.into(),
    })
}

/// The SHA-256 of a public key, as it is compared: a pin that no authority can have must not read as one.
fn key_digest(digits: Option<Box<str>>) -> Result<Option<Box<str>>, Fault> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match digits {
        Some(digits) if digits.len() != 64 || !digits.bytes().all(is_digit) => {
            Err("its `issuer` is not 64 lower-case hexadecimal digits".into())
        }
        digits => Ok(digits),
    }
}

/// A time that is written but means none must not read as "no limit".
fn moment(row: &dyn Columns, column: &'static str) -> Result<Option<UnixSeconds>, Fault> {
    let Some(text) = row.text(column)? else { return Ok(None) };
    let moment: jiff::Timestamp = text.parse().map_err(|_| format!("its `{column}` is not a time"))?;
    Ok(Some(moment.as_second()))
}

/// From a row of `issuer, serial`: the certificate that is revoked.
pub(super) fn revoked_certificate(row: &dyn Columns) -> Result<CertificateId, Fault> {
    let issuer = row.text("issuer").and_then(required("issuer"))?;
    let serial = row.text("serial").and_then(required("serial"))?;
    certificate::id(&issuer, &serial).map_err(|error| error.to_string().into())
}

fn rule(row: &dyn Columns, id: RuleId) -> RuleRow {
    let effect = row.text("effect").ok().flatten().and_then(|word| word.parse::<Effect>().ok());
    let read = || -> Result<Rule, Fault> {
        let action = row.text("action").and_then(required("action"))?;
        let topic = row.text("topic").and_then(required("topic"))?;
        let max_qos = match row.number("max_qos")? {
            None => None,
            Some(qos @ 0..=2) => u8::try_from(qos).ok(),
            Some(other) => return Err(format!("its `max_qos` is {other}").into()),
        };
        let retain = match row.number("retain")? {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(other) => return Err(format!("its `retain` is {other}").into()),
        };
        Ok(Rule {
            id,
            effect: effect.ok_or("its `effect` is neither `allow` nor `deny`")?,
            actions: action.parse::<Actions>().map_err(|error| error.to_string())?,
            topic: RuleTopic::parse(&topic).map_err(|error| error.to_string())?,
            max_qos,
            retain,
        })
    };
    read().map_err(|why| UnreadableRule { id, may_deny: effect != Some(Effect::Allow), why })
}
