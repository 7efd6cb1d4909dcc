use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{here, read};

/// docker-compose.yml, with what its anchors stand for.
fn compose() -> Value {
    serde_saphyr::from_str(&read("docker-compose.yml")).unwrap()
}

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().unwrap()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn no_service_is_root_writes_its_image_or_can_do_more_than_it_needs() {
    let compose = compose();
    assert!(services(&compose).len() >= 4);
    for (name, service) in services(&compose) {
        let user = service["user"].as_str().unwrap_or_else(|| panic!("{name} has no user"));
        assert!(user.split(':').all(|id| id.parse::<u32>().unwrap() > 0), "{name} runs as {user}");
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service.get("privileged").is_none() && service.get("cap_add").is_none(), "{name}");
        let one_shot = service["restart"] == "no";
        assert!(one_shot || service["healthcheck"]["test"].is_array(), "{name} goes on, and nobody knows how it is");
    }
    assert_eq!(services(&compose)["database"]["network_mode"], "none");
}

#[test]
fn there_is_no_secret_in_it() {
    let compose = compose();
    for (name, service) in services(&compose) {
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap();
            let secret = ["PASSWORD", "SECRET", "KEY", "TOKEN"].iter().any(|word| variable.contains(word));
            let file = variable.ends_with("_FILE") && value.starts_with("/run/warden/secrets/");
            assert!(file || !secret, "{name}: {variable}");
            assert!(!value.contains("://"), "{name}: {variable}");
        }
    }
}

#[test]
fn services_wait_for_what_says_how_it_is_and_share_volumes_that_are_there() {
    let compose = compose();
    let declared: BTreeSet<&str> = compose["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        for (other, wait) in service["depends_on"].as_object().into_iter().flatten() {
            let other = &services(&compose)[other];
            match wait["condition"].as_str().unwrap() {
                "service_healthy" => assert!(other["healthcheck"].is_object(), "{name}"),
                "service_completed_successfully" => assert_eq!(other["restart"], "no", "{name}"),
                condition => panic!("{name}: {condition}"),
            }
        }
        for volume in service["volumes"].as_array().unwrap() {
            let source = volume["source"].as_str().or_else(|| volume.as_str()?.split(':').next());
            used.insert(source.unwrap());
        }
    }
    assert_eq!(used, declared);
}

#[test]
fn images_are_pinned_and_are_built_from_what_is_there() {
    let (compose, dockerfile) = (compose(), read("Dockerfile"));
    let instructions = || dockerfile.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let stages: Vec<&str> =
        instructions().filter(|words| words.first() == Some(&"FROM")).map(|words| *words.last().unwrap()).collect();
    let pinned = |tag: &str| tag.chars().any(|c| c.is_ascii_digit());
    for words in instructions().filter(|words| words.first() == Some(&"ARG")) {
        assert!(pinned(words[1].split_once('=').unwrap().1), "{words:?}");
    }
    for words in instructions().filter(|words| words.first() == Some(&"FROM")) {
        let tag = words[1].split_once(':').map(|(_, tag)| tag);
        assert!(stages.contains(&words[1]) || tag.is_some_and(|tag| tag.starts_with("${")), "{words:?}");
    }
    for (name, service) in services(&compose) {
        match service["build"]["target"].as_str() {
            Some(target) => assert!(stages.contains(&target), "{name} is built from {target}"),
            None => assert!(pinned(service["image"].as_str().unwrap().split_once(':').unwrap().1), "{name}"),
        }
        let started = [&service["command"], &service["entrypoint"], &service["healthcheck"]["test"]];
        for word in started.into_iter().flat_map(texts) {
            if let Some(script) = word.strip_prefix("/usr/lib/mosquitto-warden/") {
                assert!(here("mosquitto-conf/docker").join(script).exists(), "{name} runs {script}");
            }
        }
    }
    // What Cargo.toml names is there when it is built, though it is not built.
    let ignored = read(".dockerignore");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*") && kept.iter().all(|path| here(path).exists()), "{kept:?}");
    for needed in ["Cargo.toml", "Cargo.lock", "build.rs", "include", "migrations", "src", "tests", "benches"] {
        assert!(kept.contains(&needed), "{needed}");
    }
}
