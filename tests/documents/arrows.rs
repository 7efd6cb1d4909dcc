use std::fs;
use std::path::Path;

use crate::here;

/// Each module, and those of the house that it may know of. The table in docs/architecture.md says the same.
const MAY_KNOW: [(&str, &[&str]); 14] = [
    ("database", &[]),
    ("credential", &["policy"]),
    ("policy", &[]),
    ("audit", &["policy", "credential"]),
    ("system_user", &[]),
    ("config", &["credential", "database"]),
    ("log", &[]),
    ("import", &["policy", "credential"]),
    ("key_file", &["credential", "system_user"]),
    ("store", &["policy", "credential", "database", "system_user", "ffi::wal_index", "ffi::sqlite_memory"]),
    ("live", &["store", "policy", "credential", "database", "log", "ffi::clock"]),
    ("plugin", &["live", "policy", "credential", "config", "key_file"]),
    ("ffi", &["plugin", "policy", "config", "log"]),
    ("cli", &["audit", "store", "policy", "credential", "import", "config", "database", "key_file", "system_user"]),
];

/// Every source file outside of tests, with the module that it belongs to.
fn sources(directory: &Path, module: Option<&str>, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = module.unwrap_or(name);
        if path.is_dir() {
            sources(&path, Some(module), found);
        } else if !(name.ends_with("tests") || name == "fake_broker") {
            found.push((module.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn modules_know_only_of_those_that_they_may() {
    let mut files = Vec::new();
    sources(&here("src"), None, &mut files);
    files.retain(|(module, _)| module != "main" && module != "lib");
    for (module, text) in files {
        let (_, may_know) = MAY_KNOW.iter().find(|(known, _)| *known == module).expect("every module is in the table");
        let tested = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in tested.lines().map(|line| line.split("//").next().unwrap()) {
            for path in line.split("crate::").skip(1) {
                let is = |known: &str| {
                    path.strip_prefix(known)
                        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
                };
                assert!(is(&module) || may_know.iter().any(|known| is(known)), "`{module}` knows of `{path}`: {line}");
            }
            let is_unsafe = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe");
            assert!(module == "ffi" || !is_unsafe, "`{module}` has unsafe code: {line}");
        }
    }
}
