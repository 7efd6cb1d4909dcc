//! What a database refuses from any writer, and what its log records. Asked through its own shell, which no Rust code can
//! watch over; that of SQLite leaves foreign keys off.

use crate::{Fresh, Kind, on_every_database, on_sqlite};

/// Two devices (1, 2), two roles (1, 2), a rule in the first role, a CN for the first device.
fn fleet(fresh: &Fresh) {
    fresh
        .sql(
            "INSERT INTO devices (name) VALUES ('a'), ('b');
             INSERT INTO roles (name) VALUES ('r'), ('s');
             INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'publish', 'x/%u');
             INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'a');
             INSERT INTO device_roles VALUES (1, 1);",
        )
        .unwrap();
    fresh.log();
}

/// What each database says of what a constraint forbids.
fn complaint(kind: Kind, of_sqlite: &'static str) -> &'static str {
    match (kind, of_sqlite) {
        (Kind::Postgres, "CHECK") => "violates check constraint",
        (Kind::Mariadb, "CHECK") => "CONSTRAINT `",
        (Kind::Postgres, "UNIQUE") => "violates unique constraint",
        (Kind::Mariadb, "UNIQUE") => "Duplicate entry",
        (_, other) => other,
    }
}

#[test]
fn nonsense_is_refused() {
    on_every_database(async |fresh| {
        fleet(&fresh);
        for (sql, words) in [
            ("INSERT INTO devices (name) VALUES ('a/b')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('a+')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('c\u{1}')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('c\n')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('c\u{7f}')", "CHECK"),
            ("UPDATE devices SET status = 'gone' WHERE id = 1", "CHECK"),
            ("UPDATE devices SET attributes = '[]' WHERE id = 1", "CHECK"),
            ("UPDATE devices SET id = 7 WHERE id = 1", "cannot change"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'shout', 'a')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'permit', 'publish', 'a')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', 'a/#/b')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', 'a#')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', '++')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', 'a/+b')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', '')", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic, max_qos) VALUES (1, 'allow', 'all', 'a', 3)", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic, max_qos) VALUES (1, 'deny', 'all', 'a', 1)", "CHECK"),
            ("INSERT INTO rules (role_id, effect, action, topic, retain) VALUES (1, 'deny', 'all', 'a', 2)", "CHECK"),
            ("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'magic', 'z')", "CHECK"),
            ("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'psk', 'z')", "CHECK"),
            ("INSERT INTO credentials (device_id, kind, identity, secret) VALUES (1, 'x509_cn', 'z', 's')", "CHECK"),
            ("UPDATE credentials SET not_after = 'tomorrow'", "CHECK"),
            ("UPDATE credentials SET not_before = '2026-13-01T00:00:00Z'", "CHECK"),
            ("UPDATE credentials SET issuer = 'CN=ca'", "CHECK"),
            ("UPDATE credentials SET kind = 'x509_sha256'", "CHECK"),
            ("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_spki_sha256', 'aa')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('', '1')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=ca', '')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=ca', '1g')", "CHECK"),
            ("INSERT INTO device_roles VALUES (1, 1)", "UNIQUE"),
        ] {
            let answer = fresh.sql(sql).unwrap_err();
            assert!(answer.contains(complaint(fresh.kind, words)), "{sql}: {answer}");
        }
        let others: &[&str] = match fresh.kind {
            Kind::Sqlite => &[
                "INSERT INTO devices (name) VALUES ('c' || char(0))",
                "INSERT INTO devices (name) VALUES (x'ff')",
                "INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=ca' || char(0), '1')",
                "UPDATE devices SET attributes = 'x' WHERE id = 1",
            ],
            Kind::Postgres => &[
                "UPDATE devices SET attributes = 'x' WHERE id = 1",
                "UPDATE credentials SET not_after = '2026-02-29T00:00:00Z'",
            ],
            Kind::Mariadb => &[
                "INSERT INTO devices (name) VALUES (concat('c', char(0 using utf8mb4)))",
                "INSERT INTO devices (name) VALUES (x'ff')",
                "INSERT INTO revoked_certificates (issuer, serial) VALUES (concat('CN=ca', char(0 using utf8mb4)), '1')",
                "UPDATE devices SET attributes = 'x' WHERE id = 1",
                "UPDATE credentials SET not_after = '2026-02-29T00:00:00Z'",
                "TRUNCATE credentials",
                "TRUNCATE device_roles",
                "TRUNCATE rules",
                "TRUNCATE change_log",
            ],
        };
        for sql in others {
            fresh.sql(sql).unwrap_err();
        }
        assert!(fresh.log().is_empty());
    });
}

#[test]
fn every_valid_filter_is_accepted() {
    on_every_database(async |fresh| {
        fleet(&fresh);
        for topic in
            ["#", "+", "/", "a", "a/#", "+/+", "/#", "a//b", "$SYS/#", "a/+/b/%u/#", "dev-%u/x", "a b", "ü/%{s}"]
        {
            let sql =
                format!("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', '{topic}')");
            fresh.sql(&sql).unwrap();
        }
    });
}

#[test]
fn a_reference_to_nothing_is_refused_though_foreign_keys_are_off() {
    on_sqlite(async |fresh| {
        fleet(&fresh);
        assert_eq!(fresh.sql("PRAGMA foreign_keys").unwrap(), "0");
        for sql in [
            "INSERT INTO credentials (device_id, kind, identity) VALUES (9, 'x509_cn', 'z')",
            "UPDATE credentials SET device_id = 9",
            "INSERT INTO rules (role_id, effect, action, topic) VALUES (9, 'allow', 'all', 'a')",
            "UPDATE rules SET role_id = 9",
            "INSERT INTO device_roles VALUES (9, 1)",
            "INSERT INTO device_roles VALUES (1, 9)",
            "UPDATE device_roles SET role_id = 9",
            "INSERT INTO revoked_certificates (issuer, serial, crl_id) VALUES ('CN=ca', '1', 9)",
        ] {
            let answer = fresh.sql(sql).unwrap_err();
            assert!(answer.contains("no such"), "{sql}: {answer}");
        }
    });
}

#[test]
fn an_identity_means_one_device() {
    on_every_database(async |fresh| {
        fleet(&fresh);
        fresh.sql("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'cn')").unwrap();
        for sql in [
            "INSERT INTO credentials (device_id, kind, identity, secret) VALUES (2, 'password', 'a', 's')",
            "INSERT INTO credentials (device_id, kind, identity, secret) VALUES (2, 'password', 'cn', 's')",
            "UPDATE credentials SET device_id = 2 WHERE identity = 'a'",
            "INSERT INTO devices (name) VALUES ('cn')",
            "UPDATE devices SET name = 'cn' WHERE id = 2",
        ] {
            let answer = fresh.sql(sql).unwrap_err();
            assert!(answer.contains("another device"), "{sql}: {answer}");
        }
        fresh.sql("UPDATE devices SET name = 'cn' WHERE id = 1").unwrap();
    });
}

#[test]
fn every_change_is_logged_for_whom_it_concerns() {
    on_every_database(async |fresh| {
        fleet(&fresh);
        for (sql, expected) in [
            ("UPDATE devices SET status = 'revoked' WHERE name = 'a'", &["device 1"][..]),
            ("UPDATE devices SET attributes = '{\"x\":\"y\"}'", &["device 1", "device 2"]),
            ("UPDATE credentials SET status = 'revoked'", &["device 1"]),
            ("UPDATE credentials SET device_id = 2, identity = 'z'", &["device 2", "device 1"]),
            ("DELETE FROM credentials", &["device 2"]),
            ("INSERT INTO device_roles VALUES (2, 1)", &["device 2"]),
            ("UPDATE device_roles SET device_id = 1, role_id = 2 WHERE device_id = 2", &["device 2", "device 1"]),
            ("DELETE FROM device_roles WHERE role_id = 2", &["device 1"]),
            ("UPDATE rules SET topic = 'y'", &["role 1"]),
            ("UPDATE rules SET role_id = 2", &["role 2", "role 1"]),
            ("DELETE FROM rules", &["role 2"]),
            ("UPDATE roles SET client_id = '%u' WHERE id = 2", &["role 2"]),
            ("DELETE FROM roles WHERE id = 2", &["role 2"]),
            ("DELETE FROM roles WHERE id = 1", &["device 1", "role 1"]),
            ("DELETE FROM devices WHERE id = 2", &["device 2"]),
        ] {
            fresh.sql(sql).unwrap_or_else(|answer| panic!("{sql}: {answer}"));
            let mut log = fresh.log();
            let mut expected = expected.to_vec();
            log.sort();
            expected.sort_unstable();
            assert_eq!(log, expected, "{sql}");
        }
    });
}

#[test]
fn insert_or_replace_is_logged_for_the_row_that_it_replaces() {
    on_sqlite(async |fresh| {
        fleet(&fresh);
        fresh.sql("INSERT OR REPLACE INTO devices (name) VALUES ('a')").unwrap();
        assert_eq!(fresh.log(), ["device 1", "device 3"]);
        fresh.sql("INSERT OR REPLACE INTO roles (name) VALUES ('r')").unwrap();
        assert_eq!(fresh.log(), ["role 1", "role 3"]);
        fresh.sql("INSERT OR REPLACE INTO rules SELECT id, 2, effect, action, topic, NULL, NULL FROM rules").unwrap();
        assert_eq!(fresh.log(), ["role 1", "role 2"]);
    });
}

#[test]
fn nothing_of_a_replaced_device_passes_to_the_new_one() {
    on_sqlite(async |fresh| {
        fleet(&fresh);
        fresh.sql("INSERT OR REPLACE INTO devices (name, status) VALUES ('a', 'active')").unwrap();
        let id = fresh.sql("SELECT id FROM devices WHERE name = 'a'").unwrap();
        assert_ne!(id, "1", "an id is never used again");
        let left = fresh.sql(&format!("SELECT count(*) FROM device_roles WHERE device_id = {id}")).unwrap();
        assert_eq!(left, "0");
        let same_id = "INSERT OR REPLACE INTO devices (id, name) VALUES (2, 'c')";
        fresh.log();
        fresh.sql(same_id).unwrap();
        assert_eq!(fresh.log(), ["device 2"]);
    });
}

#[test]
fn a_change_that_is_rolled_back_is_not_logged() {
    on_every_database(async |fresh| {
        fleet(&fresh);
        fresh.sql("BEGIN; UPDATE devices SET status = 'revoked'; ROLLBACK;").unwrap();
        assert!(fresh.log().is_empty());
    });
}

#[test]
fn a_pre_shared_key_cannot_be_shared_by_two_credentials() {
    on_every_database(async |fresh| {
        fleet(&fresh);
        let psk = |device, identity| {
            format!(
                "INSERT INTO credentials (device_id, kind, identity, secret, secret_digest)
                 VALUES ({device}, 'psk', '{identity}', 'sealed', 'same')"
            )
        };
        fresh.sql(&psk(1, "p")).unwrap();
        let answer = fresh.sql(&psk(2, "q")).unwrap_err();
        assert!(answer.contains("secret_digest"), "{answer}");
    });
}
