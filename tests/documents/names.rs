use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use mosquitto_warden::config;

use crate::{DOCUMENTS, code, here, read};

#[test]
fn the_readme_and_the_example_have_every_option_with_the_same_default() {
    let (readme, example) = (read("README.md"), read("mosquitto-conf/warden.toml"));
    let section = readme.split("\n## ").find(|section| section.starts_with("Options\n")).unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    let named: BTreeSet<&str> = rows.iter().map(|cells| cells[1]).collect();
    let known: BTreeSet<&str> = config::KEYS.into_iter().chain(["config_file"]).collect();
    assert_eq!(named, known);
    for cells in rows.iter().filter(|cells| cells[1] != "config_file") {
        let (key, default) = (cells[1], cells[2]);
        let written = example.lines().map(|line| line.trim_start_matches('#'));
        let value = written.filter_map(|line| line.split_once(" = ")).find(|(name, _)| *name == key);
        let (_, value) = value.unwrap_or_else(|| panic!("mosquitto-conf/warden.toml lacks {key}"));
        let has_none = ["database_url_file", "key_file", "cache_file", "broker_name", "ocsp.responder"].contains(&key);
        assert!(has_none || value == default, "{key}: {value} in the example, {default} in the README");
    }
}

#[test]
fn what_the_example_has_as_a_comment_is_the_default() {
    let example = read("mosquitto-conf/warden.toml");
    let uncommented: Vec<&str> = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')).unwrap_or(line))
        .filter(|line| {
            !["ocsp.responder", "database_url_file", "cache_file", "broker_name"]
                .iter()
                .any(|key| line.starts_with(key))
        })
        .collect();
    let read = |_: &Path| Ok(config::Contents { text: uncommented.join("\n"), for_everybody: true });
    assert_eq!(config::from_file(Path::new("warden.toml"), read).unwrap(), config::Config::default());
}

#[test]
fn the_readme_explains_every_reason() {
    let (source, readme) = (read("src/policy/decision.rs"), read("README.md"));
    let (_, words) = source.split_once("/// The stable word for this reason.").unwrap();
    let (words, _) = words.split_once("impl ").unwrap();
    for word in words.split('"').skip(1).step_by(2) {
        assert!(readme.contains(&format!("`{word}`")), "the README lacks the reason {word}");
    }
}

#[test]
fn files_that_are_named_exist() {
    const ROOTS: [&str; 8] =
        ["src/", "tests/", "docs/", "migrations/", "mosquitto-conf/", "include/", "benches/", ".ci/"];
    for document in DOCUMENTS {
        for span in code(&read(document)) {
            for word in span.split_whitespace().filter(|word| ROOTS.iter().any(|root| word.starts_with(root))) {
                let path = word.trim_end_matches(['/', ',', '*']);
                assert!(here(path).exists(), "{document} names `{path}`");
            }
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let links = text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = here(document).with_file_name(path);
            let target = if path.is_empty() { here(document) } else { target };
            assert!(target.exists(), "{document} links to {link}");
            let slug = |heading: &str| heading.to_lowercase().replace(' ', "-").replace([',', '.', '`', '\''], "");
            let headings = || std::fs::read_to_string(&target).unwrap();
            let found = anchor.is_empty()
                || headings()
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| slug(line.trim_start_matches('#').trim()) == anchor);
            assert!(found, "{document} links to {link}");
        }
    }
}

#[test]
fn targets_of_make_that_are_named_exist() {
    let makefile = read("Makefile");
    for document in DOCUMENTS {
        for span in code(&read(document)) {
            let mut words = span.split_whitespace().skip_while(|word| *word != "make").skip(1);
            if let Some(target) = words.next().filter(|word| !word.starts_with('#')) {
                let there = makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
                assert!(there, "{document} says `make {target}`");
            }
        }
    }
}

#[test]
fn benches_that_are_named_exist() {
    let (manifest, mut seen) = (read("Cargo.toml"), 0);
    for document in DOCUMENTS {
        for span in code(&read(document)) {
            let mut words = span.split_whitespace().skip_while(|word| *word != "--bench").skip(1);
            if let Some(name) = words.next() {
                let there = manifest.contains(&format!("[[bench]]\nname = \"{name}\"\n"));
                assert!(there, "{document}: there is no bench {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 3, "only {seen} were found");
}

/// The bench writes them, between two marks that it has to find.
#[test]
fn the_tables_of_the_benchmarks_are_written_by_the_bench() {
    let (document, bench) = (read("docs/benchmarks.md"), read("benches/compare/report.rs"));
    let marks: Vec<&str> = document.lines().filter(|line| line.starts_with("<!--")).collect();
    assert_eq!(marks.len(), 2);
    for mark in &marks {
        assert!(bench.contains(mark), "{mark}");
    }
    let measured = document.split(marks[0]).nth(1).unwrap().split(marks[1]).next().unwrap();
    let outside = document.replace(measured, "");
    assert!(measured.contains("load average") && measured.contains("| warden |"));
    assert!(!outside.contains("| mosquitto |"), "a table that the bench does not write");
}

/// A long `snake_case` word is the name of a test; OpenSSL's functions have capitals in theirs.
#[test]
fn tests_that_are_named_exist() {
    let functions =
        Command::new("grep").args(["-rhoE", "fn [a-z0-9_]+", "src", "tests"]).current_dir(here(".")).output();
    let functions = String::from_utf8(functions.unwrap().stdout).unwrap();
    let known: BTreeSet<&str> = functions.lines().map(|line| line.trim_start_matches("fn ")).collect();
    for document in DOCUMENTS {
        let is_name = |word: &&String| !word.contains(|c: char| "/ ".contains(c) || c.is_uppercase());
        for word in code(&read(document)).iter().filter(|word| word.matches('_').count() > 3).filter(is_name) {
            assert!(known.contains(&**word), "{document} names a test `{word}`");
        }
    }
}

/// Run with `--help` behind them: clap refuses what it does not know before it comes to that.
#[test]
fn commands_that_are_named_make_sense() {
    let directory = Path::new(env!("CARGO_BIN_EXE_warden")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut seen = 0;
    for document in DOCUMENTS {
        for span in code(&read(document)) {
            let command = span.trim_start_matches("sudo ").split(['|', '>']).next().unwrap();
            if command != "warden" && !command.starts_with("warden ") {
                continue;
            }
            let line = format!("{command} --help");
            let output = Command::new("bash").args(["-c", &line]).env("PATH", &path).output().unwrap();
            assert!(output.status.success(), "{document}: {line}: {}", String::from_utf8_lossy(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} commands were found");
}
