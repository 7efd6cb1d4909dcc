//! Whatever a test has `warden` write as JSON is what docs/warden-json.schema.json says: every answer of every test of
//! this binary is held against it.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use clap::CommandFactory;
use jsonschema::Validator;
use mosquitto_warden::cli::Cli;
use serde_json::{Value, json};

use crate::Said;
use crate::help::verbs;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/warden-json.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
});
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::options().should_validate_formats(true).build(&SCHEMA).unwrap());

/// Fails if this is JSON that the schema does not allow for the command with these arguments.
#[track_caller]
pub(crate) fn hold_against(args: &[&str], said: &Said) {
    let (false, true) = (said.stdout.is_empty(), args.contains(&"--json")) else { return };
    let value: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {said:?}"));
    let verb = verb(args);
    let wrong: Vec<String> = VALIDATOR
        .iter_errors(&json!({ &verb: value }))
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "warden {verb} wrote what its schema does not allow: {wrong:#?}");
}

/// The words of a command line that name the command.
fn verb(args: &[&str]) -> String {
    let mut command = Cli::command();
    let mut words = Vec::new();
    for arg in args {
        if let Some(found) = command.find_subcommand(arg).cloned() {
            words.push(*arg);
            command = found;
        }
    }
    words.join(" ")
}

#[test]
fn every_command_is_in_the_schema_and_the_schema_says_nothing_of_others() {
    let described: BTreeSet<&String> = SCHEMA["properties"].as_object().unwrap().keys().collect();
    // What shells read is no result.
    let verbs = verbs();
    let verbs = verbs.keys().filter(|verb| *verb != "completions").collect();
    assert_eq!(described, verbs);
}

#[test]
fn what_is_not_in_the_schema_is_noticed() {
    assert!(VALIDATOR.is_valid(&json!({ "broker forget": { "broker": "b", "changed": true } })));
    for wrong in [
        json!({ "broker forget": { "broker": "b" } }),
        json!({ "broker forget": { "broker": "b", "changed": "true" } }),
        json!({ "broker forget": { "broker": "b", "changed": true, "more": 1 } }),
        json!({ "key rotate": { "key_file": "k", "key_id": null, "changed": true } }),
        json!({ "crl list": [{ "issuer": "i", "number": null, "revoked": 1, "this_update": "now", "next_update": null, "imported_at": "2026-01-01T00:00:00Z" }] }),
        json!({ "no such command": {} }),
    ] {
        assert!(!VALIDATOR.is_valid(&wrong), "{wrong}");
    }
}
