use super::*;
use crate::credential::certificate::Field;

fn no_file(_: &Path) -> std::io::Result<Contents> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// A file that not everybody may read.
#[expect(clippy::unnecessary_wraps, reason = "it stands for what may fail")]
fn file(text: &str) -> std::io::Result<Contents> {
    Ok(Contents { text: text.to_owned(), for_everybody: false })
}

fn problems(options: &[(&str, &str)], text: &str) -> Vec<String> {
    let read = |_: &Path| file(text);
    from_options(options.iter().copied(), read).unwrap_err().iter().map(str::to_owned).collect()
}

#[test]
fn nothing_said_means_the_defaults() {
    assert_eq!(from_options([], no_file).unwrap(), Config::default());
}

#[test]
fn the_key_file_lies_beside_its_database() {
    let config = from_options([("database", "/srv/fleet.db")], no_file).unwrap();
    assert_eq!(config.key_file, Path::new("/srv/fleet.key"));
}

#[test]
fn a_database_on_a_server_has_defaults_of_its_own_and_shows_no_password() {
    let config = from_options([("database", "postgres://u:secret@h/db")], no_file).unwrap();
    assert_eq!(config.key_file, Path::new("/var/lib/mosquitto/warden.key"));
    assert_eq!(config.database.to_string(), "postgres://u@h/db");
    assert_eq!(config.freshness, Freshness::Bounded, "the default on a server");
    let strict = from_options([("freshness", "strict"), ("database", "mysql://u@h/db")], no_file).unwrap();
    assert_eq!(strict.freshness, Freshness::Strict);
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn an_address_can_stand_in_a_file_of_its_own_and_is_not_shown() {
    let read = |path: &Path| match path.to_str() {
        Some("/good") => file("postgres://u:secret@h/db\n"),
        Some("/bad") => file("postgres://u:secret@h:port/db"),
        _ => no_file(path),
    };
    let config = from_options([("database_url_file", "/good")], read).unwrap();
    assert_eq!(config.database.to_string(), "postgres://u@h/db");
    for options in [
        vec![("database_url_file", "/bad")],
        vec![("database_url_file", "/none")],
        vec![("database_url_file", "/good"), ("database", "/a.db")],
    ] {
        let error = from_options(options.clone(), read).unwrap_err().to_string();
        assert!(error.starts_with("database_url_file `/") && !error.contains("secret"), "{options:?}: {error}");
    }
}

#[test]
fn a_password_is_refused_in_a_file_that_everybody_may_read() {
    let everybody = |text: &str| Ok(Contents { text: text.to_owned(), for_everybody: true });
    let written = |path: &Path| match path.to_str() {
        Some("/toml") => everybody("database = \"postgres://u:secret@h/db\""),
        _ => everybody("postgres://u:secret@h/db"),
    };
    for (option, file) in [("database_url_file", "/url"), ("config_file", "/toml")] {
        let error = from_options([(option, file)], written).unwrap_err().to_string();
        assert!(error.contains(&format!("chmod o-r {file}")) && !error.contains("secret"), "{error}");
    }
    // Where there is none, everybody may.
    from_options([("database_url_file", "/url")], |_: &Path| everybody("postgres://u@h/db")).unwrap();
}

#[test]
fn an_option_wins_over_the_file() {
    let read = |_: &Path| file("freshness = \"bounded\"\nmax_staleness = \"5s\"\ndatabase = \"/a.db\"");
    let config = from_options([("database", "/b.db "), ("config_file", "x.toml")], read).unwrap();
    assert_eq!(config.database, Path::new("/b.db").into());
    assert_eq!(config.freshness, Freshness::Bounded);
    assert_eq!(config.max_staleness, Duration::from_secs(5));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let found = problems(
        &[("databse", "x"), ("freshness", "sometimes"), ("config_file", "w.toml"), ("refusals_per_second", "0")],
        "barrier_timeout = 5\nnonsense_of_a_key = 1\nunknown = [\"deny\"]\npoll_interval = \"1h\"",
    );
    let expected = [
        "`barrier_timeout` in `w.toml`: a time with its unit is wanted, such as \"100ms\" or \"60s\"",
        "unknown option `nonsense_of_a_key` in `w.toml`; the options are database, database_url_file, key_file, freshness, \
         barrier_timeout, max_staleness, on_stale, cache_file, cache_max_age, start_without_database, unknown, \
         poll_interval, broker_name, heartbeat_interval, refusals_per_second, \
         callback_times, handshake, resumption, admission_rate, certificate.identity, certificate.ext_key_usage, \
         certificate.clock_skew, certificate.expired, certificate.renewal_role, crl_files, crl_issuers, crl_expired, ocsp.mode, \
         ocsp.responder, ocsp.refresh, ocsp.require_nonce, login_budget, login_attempts, password_cost, password_upgrade",
        "`poll_interval` in `w.toml`: at most 1s is possible",
        "`unknown` in `w.toml`: a text is wanted, not a array",
        "unknown option plugin_opt_databse; did you mean `database`?",
        "plugin_opt_freshness: unknown variant `sometimes`, expected `strict` or `bounded`",
        "plugin_opt_refusals_per_second: a whole number from 1 to 10000 is wanted",
    ];
    let mut found = found;
    found.sort();
    let mut expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn how_certificates_are_read_has_a_section_of_its_own() {
    let text = "crl_files = [\"a.crl\", \"b.crl\"]\ncrl_issuers = [\"ca.crt\"]\n[certificate]\n\
                identity = [\"san_uri\", \"cn\"]\next_key_usage = true\nclock_skew = \"0s\"\n\
                expired = \"renew_only\"\n[ocsp]\nmode = \"hard\"\nresponder = \"http://ca.example/\"";
    let options = [("config_file", "w.toml"), ("certificate.renewal_role", "renew")];
    let config = from_options(options, |_: &Path| file(text)).unwrap();
    assert_eq!(config.certificate.identity, [Field::SanUri, Field::Cn]);
    assert!(config.certificate.ext_key_usage && config.certificate.clock_skew.is_zero());
    assert_eq!((config.expired, &*config.renewal_role), (Expired::RenewOnly, "renew"));
    assert_eq!(config.crl_files, [Path::new("a.crl"), Path::new("b.crl")]);
    assert_eq!((config.ocsp, config.ocsp_responder.as_deref()), (Ocsp::Hard, Some("http://ca.example/")));
}

#[test]
fn what_makes_no_sense_about_certificates_is_a_mistake() {
    for (option, words) in [
        (("certificate.identity", "cn, mac"), "unknown variant `mac`"),
        (("certificate.identity", "cn,cn"), "twice"),
        (("certificate.ext_key_usage", "yes"), "true or false"),
        (("certificate.indentity", "cn"), "did you mean `certificate.identity`?"),
        (("crl_files", "a.crl"), "crl_issuers"),
        (("ocsp.responder", "https://ca.example"), "http://"),
        (("ocsp.mode", "soft"), "handshake"),
    ] {
        let found = problems(
            &[("config_file", "w.toml"), option],
            if option.0 == "ocsp.mode" { "handshake = \"off\"" } else { "" },
        );
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
}

#[test]
fn a_missing_file_is_a_mistake() {
    let error = from_options([("config_file", "/nowhere.toml")], no_file).unwrap_err();
    assert!(error.to_string().starts_with("cannot read the configuration file `/nowhere.toml`"), "{error}");
}

#[test]
fn a_file_that_is_not_toml_is_a_mistake() {
    assert!(problems(&[("config_file", "w.toml")], "freshness strict")[0].contains("is not a TOML file"));
}

#[test]
fn another_kind_of_database_is_a_mistake_and_shows_no_password() {
    let found = problems(&[("database", "oracle://u:secret@h/db")], "");
    assert!(found[0].contains("`oracle`") && !found[0].contains("secret"), "{found:?}");
    let found =
        problems(&[("freshness", "x"), ("config_file", "w.toml")], "database = \"postgres://u:secret@h:port/db\"");
    assert!(found.len() == 2 && !format!("{found:?}").contains("secret"), "{found:?}");
}

#[test]
fn every_key_can_be_a_plugin_option() {
    assert!(KEYS.iter().all(|key| key.len() >= 3));
}

#[test]
fn a_broker_has_a_name_if_it_is_given_one() {
    assert_eq!(Config::default().broker_name, None);
    let config = from_options([("broker_name", "oslo-1"), ("heartbeat_interval", "100ms")], no_file).unwrap();
    assert_eq!(
        (config.broker_name.as_deref(), config.heartbeat_interval),
        (Some("oslo-1"), Duration::from_millis(100))
    );
    for (options, words) in [
        ([("broker_name", "")], "1 to 255 characters"),
        ([("broker_name", "a\u{1b}")], "1 to 255 characters"),
        ([("heartbeat_interval", "2m")], "at most 1m"),
        ([("heartbeat_interval", "0s")], "longer than zero"),
    ] {
        let found = problems(&options, "");
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
}

#[test]
fn what_makes_no_sense_about_the_cache_is_a_mistake_or_a_warning() {
    for (options, words) in [
        (vec![("start_without_database", "cache")], "`cache_file`"),
        (vec![("start_without_database", "cache_or_refuse")], "`cache_file`"),
        (vec![("database", "/a.db"), ("cache_file", "/a.key")], "a file of its own"),
        (vec![("database", "/a.db"), ("cache_file", "/a.db")], "a file of its own"),
        (vec![("cache_max_age", "31days")], "at most 30days"),
        (vec![("start_without_database", "perhaps")], "expected one of `fail`, `refuse`, `cache`, `cache_or_refuse`"),
    ] {
        let found = problems(&options, "");
        assert!(found.len() == 1 && found[0].contains(words), "{options:?}: {found:?}");
    }
    let cache = ("cache_file", "/a.cache");
    let from_cache = ("start_without_database", "cache");
    for (options, words) in [
        (vec![], None),
        (vec![("start_without_database", "refuse")], None),
        (vec![cache], Some("never read")),
        (vec![cache, ("start_without_database", "refuse")], Some("never read")),
        (vec![cache, from_cache], Some("admits nobody")),
        (vec![cache, from_cache, ("freshness", "bounded")], None),
        (vec![cache, from_cache, ("on_stale", "serve")], None),
    ] {
        let config = from_options(options.clone(), no_file).unwrap();
        let found: Vec<&str> = config.warnings().collect();
        assert_eq!(found.len(), usize::from(words.is_some()), "{options:?}: {found:?}");
        assert!(words.is_none_or(|words| found[0].contains(words)), "{options:?}: {found:?}");
    }
}
