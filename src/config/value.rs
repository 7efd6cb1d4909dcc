//! How single values are written: each becomes what it means, or a complaint that says how to write it.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Value;

use crate::credential::certificate::Field;
use crate::credential::password::{Cost, CostError};
use crate::database::Database;

pub(super) fn path(value: Value) -> Result<PathBuf, String> {
    let text = text(value)?;
    if text.is_empty() {
        return Err("a path is missing".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn database(value: Value) -> Result<Database, String> {
    Database::parse(&text(value)?).map_err(|error| error.to_string())
}

pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        other => Err(format!("a text is wanted, not a {}", other.type_str())),
    }
}

pub(super) fn broker_name(value: Value) -> Result<String, String> {
    let name = text(value)?;
    if (1..=255).contains(&name.chars().count()) && !name.contains(char::is_control) {
        Ok(name)
    } else {
        Err("a name of 1 to 255 characters is wanted".to_owned())
    }
}

/// Several texts: a list, or on a `plugin_opt` line with commas between them.
fn texts(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        Value::String(text) => Ok(text.split(',').map(|part| part.trim().to_owned()).collect()),
        other => Err(format!("a list of texts is wanted, not a {}", other.type_str())),
    }
}

pub(super) fn paths(value: Value) -> Result<Vec<PathBuf>, String> {
    let paths = texts(value)?;
    if paths.iter().any(String::is_empty) {
        return Err("a path is missing".to_owned());
    }
    Ok(paths.into_iter().map(PathBuf::from).collect())
}

pub(super) fn fields(value: Value) -> Result<Vec<Field>, String> {
    let words = texts(value)?;
    if words.is_empty() {
        return Err("at least one field is wanted, such as [\"san_uri\", \"cn\"]".to_owned());
    }
    let fields: Vec<Field> = words.into_iter().map(|word| one_of(Value::String(word))).collect::<Result<_, _>>()?;
    match fields.iter().enumerate().find(|(index, field)| fields.iter().take(*index).any(|other| other == *field)) {
        Some((_, twice)) => Err(format!("`{twice:?}` is there twice")),
        None => Ok(fields),
    }
}

pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(truth) => Ok(*truth),
        Value::String(text) => text.parse().map_err(|_| "true or false is wanted".to_owned()),
        other => Err(format!("true or false is wanted, not a {}", other.type_str())),
    }
}

pub(super) fn cost(value: Value) -> Result<Cost, String> {
    text(value)?.parse().map_err(|error: CostError| error.to_string())
}

pub(super) fn responder(value: Value) -> Result<String, String> {
    let url = text(value)?;
    // An answer is signed, so that it needs no TLS; and TLS would have to be checked in turn (RFC 6960, appendix A).
    if url.starts_with("http://") { Ok(url) } else { Err("an address that begins with http:// is wanted".to_owned()) }
}

/// One of the words that serde knows for `T`; its message lists them.
pub(super) fn one_of<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    let text = text(value)?;
    let word: serde::de::value::StringDeserializer<serde::de::value::Error> = text.into_deserializer();
    T::deserialize(word).map_err(|error| error.to_string())
}

/// A positive time of at most `most`, written with its unit.
pub(super) fn duration(value: &Value, most: Duration) -> Result<Duration, String> {
    match tolerance(value, most)? {
        Duration::ZERO => Err("a time longer than zero is wanted".to_owned()),
        time => Ok(time),
    }
}

/// A time of at most `most`, written with its unit, or none.
pub(super) fn tolerance(value: &Value, most: Duration) -> Result<Duration, String> {
    let Value::String(text) = value else {
        return Err("a time with its unit is wanted, such as \"100ms\" or \"60s\"".to_owned());
    };
    match humantime::parse_duration(text) {
        Ok(time) if time > most => Err(format!("at most {} is possible", humantime::format_duration(most))),
        Ok(time) => Ok(time),
        Err(error) => Err(format!("`{text}` is not a time such as \"100ms\" or \"60s\": {error}")),
    }
}

pub(super) fn number(value: &Value, range: std::ops::RangeInclusive<u32>) -> Result<u32, String> {
    value
        .as_integer()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("a whole number from {} to {} is wanted", range.start(), range.end()))
}

pub(super) fn one_line(error: &toml::de::Error) -> String {
    error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
