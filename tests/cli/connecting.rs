use std::fs::{self, Permissions};
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use url::Url;

use super::{Said, Warden};
use crate::servers::{Kind, OnServer, authority, with_parameters};

/// `warden` with this address.
fn at(warden: &Warden, address: &str, words: &str) -> Said {
    let mut command = warden.command(&words.split(' ').collect::<Vec<_>>());
    Said::from(command.env("WARDEN_DATABASE", address).stdin(Stdio::null()).output().unwrap())
}

/// The address by the name that the server's certificate has.
fn by_name(server: &OnServer, parameters: &[(&str, &str)]) -> String {
    with_parameters(&server.address().replace("127.0.0.1", "localhost"), parameters)
}

#[test]
fn a_server_has_to_prove_its_name() {
    let warden = Warden::empty();
    for (kind, mode, verified, ca) in [
        (Kind::Postgres, "sslmode", "verify-full", "sslrootcert"),
        (Kind::Mariadb, "ssl-mode", "VERIFY_IDENTITY", "ssl-ca"),
    ] {
        let server = OnServer::new(kind);
        let (ours, others) = (authority("ca.crt"), authority("other-ca.crt"));
        let said = at(&warden, &by_name(&server, &[(mode, verified), (ca, &ours)]), "init");
        assert_eq!(said.code, 0, "{kind:?}: {said:?}");
        for (address, words) in [
            (by_name(&server, &[(mode, verified), (ca, &others)]), "is not accepted: UnknownIssuer"),
            // None but those of the system.
            (by_name(&server, &[(mode, verified)]), "is not accepted: UnknownIssuer"),
            (with_parameters(server.address(), &[(mode, verified), (ca, &ours)]), "not valid for name"),
            (by_name(&server, &[(mode, verified), (ca, "/nowhere.crt")]), "`/nowhere.crt`, cannot be read by"),
        ] {
            let said = at(&warden, &address, "status");
            assert!(said.code != 0 && said.stderr.contains(words), "{kind:?}: {address}: {said:?}");
        }
    }
}

#[test]
fn an_address_may_have_an_ipv6_host() {
    if let Err(error) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        eprintln!("not tested: this machine has no IPv6: {error}");
        return;
    }
    let server = OnServer::new(Kind::Postgres);
    let said = at(&Warden::empty(), &server.address().replace("127.0.0.1", "[::1]"), "init");
    assert!(said.code == 0 && said.stdout.contains("@[::1]:"), "{said:?}");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_said() {
    let warden = Warden::empty();
    let script = "\
        for address in \"${WARDEN_TEST_POSTGRES%%\\?*}?sslmode=verify-full\" \"${WARDEN_TEST_MYSQL%%\\?*}?ssl-mode=VERIFY_IDENTITY\"; do
            WARDEN_DATABASE=$address \"$0\" status && exit 1
        done
        WARDEN_DATABASE=$WARDEN_TEST_POSTGRES \"$0\" status; WARDEN_DATABASE=$WARDEN_TEST_MYSQL \"$0\" status; exit 0";
    let mut servers = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/databases.sh"));
    servers.args(["bash", "-c", script, env!("CARGO_BIN_EXE_warden")]).env("WARDEN_TEST_TLS", "off");
    let said = Said::from(servers.current_dir(warden.path("")).stdin(Stdio::null()).output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.stderr.matches("does not offer TLS").count(), 2, "{said:?}");
    assert_eq!(said.stderr.matches("has no schema yet; run `warden init`").count(), 2, "who asks for none: {said:?}");
}

/// A role of PostgreSQL that may do all, with this password.
struct Owner<'s> {
    server: &'s OnServer,
    name: String,
    address: Url,
}

impl<'s> Owner<'s> {
    fn new(server: &'s OnServer, password: &str) -> Self {
        let mut address = Url::parse(server.address()).unwrap();
        let name = format!("owner_of_{}", address.path().trim_matches('/'));
        let statements = format!("CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}' IN ROLE by_password");
        server.sql(&statements);
        address.set_username(&name).unwrap();
        Self { server, name, address }
    }
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        self.server.sql(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.name));
    }
}

#[test]
fn a_password_file_is_used_if_nobody_else_can_read_it() {
    let (warden, server) = (Warden::empty(), OnServer::new(Kind::Postgres));
    let owner = Owner::new(&server, "s3cret:word");
    let file = warden.path("pgpass");
    let port = owner.address.port().unwrap();
    let write = |host: &str, password: &str| {
        let text = format!("# of the fleet\nelsewhere:*:*:*:wrong\n{host}:{port}:*:{}:{password}\n", owner.name);
        fs::write(&file, text).unwrap();
    };
    let run = |words: &str| {
        let mut command = warden.command(&words.split(' ').collect::<Vec<_>>());
        command.env("WARDEN_DATABASE", owner.address.as_str()).env("PGPASSFILE", &file).env("HOME", warden.path(""));
        Said::from(command.stdin(Stdio::null()).output().unwrap())
    };
    let refused = |words: &str| {
        let said = run("status");
        assert!(said.code != 0 && said.stderr.contains(words), "{words}: {said:?}");
        assert!(!said.stderr.contains("s3cret") && !said.stdout.contains("s3cret"), "{said:?}");
    };
    refused("password authentication failed");
    write("127.0.0.1", "s3cret\\:word");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    refused(&format!("it is not used: run `chmod 600 {}`", file.display()));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run("init").code, 0, "{:?}", run("init"));
    write("127.0.0.1", "other");
    refused("password authentication failed");
    write("127.0.0.2", "s3cret\\:word");
    refused("password authentication failed");
    fs::write(&file, "s3cret-without-colons\n").unwrap();
    refused("password authentication failed");
    // Where no file is named, that in the home directory.
    write("*", "s3cret\\:word");
    let home = warden.path(".pgpass");
    fs::rename(&file, &home).unwrap();
    assert_eq!(run("status").code, 0, "{:?}", run("status"));
    fs::set_permissions(&home, Permissions::from_mode(0o640)).unwrap();
    refused("it is not used: run `chmod 600 ");
}

#[test]
fn an_address_with_its_password_stands_in_the_environment_or_in_a_file_of_its_own() {
    let (warden, server) = (Warden::empty(), OnServer::new(Kind::Postgres));
    let mut owner = Owner::new(&server, "s3cret/word");
    owner.address.set_password(Some("s3cret/word")).unwrap();
    let address = owner.address.to_string();
    let said = at(&warden, &address, "init");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");
    // Everybody sees what is on a command line.
    let said = warden.args(&["status", "--database", &address]);
    assert!(said.code == 2 && said.stderr.contains("WARDEN_DATABASE"), "{said:?}");
    assert!(!format!("{said:?}").contains("s3cret"), "{said:?}");

    let said = at(&warden, "postgres://u:s3cret@127.0.0.1:1/x", "status");
    assert!(said.stderr.contains("`postgres://u@127.0.0.1:1/x`: the database server cannot be reached"), "{said:?}");
    assert!(!said.stderr.contains("s3cret"), "{said:?}");

    let file = warden.path("database.url");
    fs::write(&file, &address).unwrap();
    fs::write(warden.path("warden.toml"), format!("database_url_file = \"{}\"", file.display())).unwrap();
    let by_config = || {
        let mut command = warden.command(&["status", "--config", "warden.toml", "--key-file", "warden.key"]);
        Said::from(command.env_remove("WARDEN_DATABASE").stdin(Stdio::null()).output().unwrap())
    };
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let said = by_config();
    assert!(said.code == 2 && said.stderr.contains(&format!("run `chmod o-r {}`", file.display())), "{said:?}");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let said = by_config();
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(&owner.name) && !format!("{said:?}").contains("s3cret"), "{said:?}");
}
