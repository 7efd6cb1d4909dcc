//! A mosquitto.conf (mosquitto.conf(5)) as the broker reads it: lines, listeners, plugins.
//!
//! Files are read through the caller. What a line is worth is not known here, and what no line says is not made up.

use std::io;
use std::path::{Path, PathBuf};

/// One line: a keyword and the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The file and the number of the line, from 1.
    pub place: String,
    pub key: String,
    pub value: String,
}

impl Directive {
    /// Whether it says `true`, as the broker understands it.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.value.eq_ignore_ascii_case("true") || self.value == "1"
    }
}

/// A listener, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where it begins.
    pub place: String,
    /// `8883`, and the address or the socket behind it, if any.
    pub address: String,
    pub lines: Vec<Directive>,
}

/// A plugin, and its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    pub place: String,
    pub path: String,
    /// Their keys are without `plugin_opt_`.
    pub options: Vec<Directive>,
    /// The listener behind whose line it stands, by its number in [`Conf::listeners`].
    pub listener: Option<usize>,
}

/// A configuration with all that it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// What is about no listener and no plugin.
    pub lines: Vec<Directive>,
    pub listeners: Vec<Listener>,
    pub plugins: Vec<Plugin>,
    /// Options of plugins before any plugin.
    pub stray_options: Vec<Directive>,
    /// Files that could not be read: where they are named, the file, and why.
    pub unreadable: Vec<(String, PathBuf, String)>,
}

/// How files are read.
pub trait Files {
    fn text(&self, path: &Path) -> io::Result<String>;
    /// The files in a directory.
    fn entries(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
}

/// What is said of the listener before it.
const OF_LISTENERS: [&str; 27] = [
    "allow_zero_length_clientid",
    "bind_interface",
    "cafile",
    "capath",
    "certfile",
    "ciphers",
    "ciphers_tls1.3",
    "crlfile",
    "dhparamfile",
    "disable_client_cert_date_checks",
    "http_dir",
    "keyfile",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "mount_point",
    "protocol",
    "psk_hint",
    "require_certificate",
    "socket_domain",
    "tls_engine",
    "tls_version",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "websockets_log_level",
    "websockets_headers_size",
];

/// What is said of the listener before it where `per_listener_settings` is true, and of the broker otherwise.
pub const PER_LISTENER: [&str; 5] = ["acl_file", "allow_anonymous", "auto_id_prefix", "password_file", "psk_file"];

/// How deep files may include each other.
const DEEPEST: usize = 10;

impl Conf {
    /// Reads a file and what it includes.
    pub fn read(path: &Path, files: &impl Files) -> Self {
        let mut conf = Self::default();
        conf.take_file(path, "the command line", files, 0);
        conf
    }

    fn take_file(&mut self, path: &Path, place: &str, files: &impl Files, depth: usize) {
        let text = match files.text(path) {
            Ok(text) => text,
            Err(error) => return self.unreadable.push((place.to_owned(), path.to_owned(), error.to_string())),
        };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let place = format!("{}:{number}", path.display());
            let directive = Directive { place, key: key.to_owned(), value: value.trim().to_owned() };
            if key == "include_dir" {
                self.take_directory(&directive, files, depth);
            } else {
                self.take(directive);
            }
        }
    }

    fn take_directory(&mut self, directive: &Directive, files: &impl Files, depth: usize) {
        let directory = Path::new(&directive.value);
        let mut entries = match files.entries(directory) {
            Ok(entries) if depth < DEEPEST => entries,
            Ok(_) => {
                let why = "files include each other without end".to_owned();
                return self.unreadable.push((directive.place.clone(), directory.to_owned(), why));
            }
            Err(error) => {
                let why = error.to_string();
                return self.unreadable.push((directive.place.clone(), directory.to_owned(), why));
            }
        };
        entries.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        entries.sort();
        for path in entries {
            self.take_file(&path, &directive.place, files, depth + 1);
        }
    }

    fn take(&mut self, mut directive: Directive) {
        let per_listener = self.is_true("per_listener_settings");
        let key = directive.key.as_str();
        if let Some(option) = key.strip_prefix("plugin_opt_").or_else(|| key.strip_prefix("auth_opt_")) {
            directive = Directive { key: option.to_owned(), ..directive };
            match self.plugins.last_mut() {
                Some(plugin) => plugin.options.push(directive),
                None => self.stray_options.push(directive),
            }
            return;
        }
        match key {
            "listener" => {
                let Directive { place, value, .. } = directive;
                self.listeners.push(Listener { place, address: value, lines: Vec::new() });
            }
            "port" if self.listeners.is_empty() => {
                let Directive { place, value, .. } = directive;
                self.listeners.push(Listener { place, address: value, lines: Vec::new() });
            }
            "plugin" | "auth_plugin" | "global_plugin" | "plugin_load" => {
                let Directive { place, value, .. } = directive;
                // `plugin_load` has a name before the path.
                let path = if directive.key == "plugin_load" {
                    value.split_once(' ').map_or(value.as_str(), |(_, path)| path.trim())
                } else {
                    &value
                };
                let path = path.to_owned();
                let listener = self.listeners.len().checked_sub(1).filter(|_| per_listener);
                self.plugins.push(Plugin { place, path, options: Vec::new(), listener });
            }
            _ if OF_LISTENERS.contains(&key) || (per_listener && PER_LISTENER.contains(&key)) => {
                match self.listeners.last_mut() {
                    Some(listener) => listener.lines.push(directive),
                    None => self.lines.push(directive),
                }
            }
            _ => self.lines.push(directive),
        }
    }

    /// The last line with this keyword that is about no listener.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Directive> {
        self.lines.iter().rev().find(|line| line.key == key)
    }

    /// Every line with this keyword, wherever it stands.
    pub fn all<'c>(&'c self, key: &'c str) -> impl Iterator<Item = &'c Directive> {
        let of_listeners = self.listeners.iter().flat_map(|listener| &listener.lines);
        self.lines.iter().chain(of_listeners).filter(move |line| line.key == key)
    }

    /// Whether a line that is about no listener says `true`.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(Directive::is_true)
    }
}

impl Listener {
    /// The last line about it with this keyword.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Directive> {
        self.lines.iter().rev().find(|line| line.key == key)
    }

    /// Whether a line about it says `true`.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(Directive::is_true)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Files by path.
    pub(crate) struct InMemory(pub(crate) BTreeMap<PathBuf, String>);

    impl Files for InMemory {
        fn text(&self, path: &Path) -> io::Result<String> {
            self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn entries(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
            let found: Vec<_> = self.0.keys().filter(|path| path.parent() == Some(directory)).cloned().collect();
            if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
        }
    }

    fn read(files: &[(&str, &str)]) -> Conf {
        let files = files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        Conf::read(Path::new("/m.conf"), &InMemory(files))
    }

    #[test]
    fn a_line_belongs_to_what_stands_before_it() {
        let conf = read(&[(
            "/m.conf",
            "# no\nplugin /a.so\nplugin_opt_one  1\nallow_anonymous\tfalse\nlistener 1883 ::1\ncafile /ca\n\
             plugin /b.so\nauth_opt_two 2 3\n listener 8883\nrequire_certificate TRUE\nuser mosquitto\n",
        )]);
        let options = |plugin: &Plugin| {
            plugin.options.iter().map(|it| format!("{} {} {}", it.place, it.key, it.value)).collect::<Vec<_>>()
        };
        assert_eq!(options(&conf.plugins[0]), ["/m.conf:3 one 1"]);
        assert_eq!(options(&conf.plugins[1]), ["/m.conf:8 two 2 3"]);
        assert_eq!(conf.listeners[0].get("cafile").unwrap().value, "/ca");
        assert!(conf.listeners[1].is_true("require_certificate") && conf.listeners[1].get("cafile").is_none());
        assert_eq!(conf.get("user").unwrap().place, "/m.conf:11");
        assert!(!conf.is_true("allow_anonymous") && conf.unreadable.is_empty());
    }

    #[test]
    fn what_is_included_stands_where_it_is_included() {
        let conf = read(&[
            ("/m.conf", "listener 1\ninclude_dir /d\ncafile /late\n"),
            ("/d/b.conf", "cafile /b\n"),
            ("/d/a.conf", "listener 2\n"),
            ("/d/no.txt", "listener 3\n"),
        ]);
        assert_eq!(conf.listeners.iter().map(|it| &*it.address).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(conf.listeners[1].get("cafile").unwrap().value, "/late");
    }

    #[test]
    fn what_cannot_be_read_is_kept_in_mind() {
        let conf = read(&[("/m.conf", "include_dir /gone\nport 1883\n")]);
        assert_eq!(conf.unreadable.len(), 1);
        assert_eq!(conf.listeners.len(), 1);
        let conf = read(&[("/m.conf", "include_dir /")]);
        assert_eq!(conf.unreadable.len(), 1, "it includes itself");
        assert_eq!(read(&[]).unreadable[0].0, "the command line");
    }

    #[test]
    fn with_settings_per_listener_these_belong_to_listeners() {
        let conf = read(&[("/m.conf", "per_listener_settings true\nlistener 1\nallow_anonymous true\nplugin /a.so\n")]);
        assert!(conf.listeners[0].is_true("allow_anonymous") && !conf.is_true("allow_anonymous"));
        assert_eq!(conf.plugins[0].listener, Some(0));
    }
}
