//! What the database refuses from any writer, and what its log records. Asked through the sqlite3 shell, which leaves
//! foreign keys off and which no Rust code can watch over.

use crate::{Fresh, run};

/// Two devices (1, 2), two roles (1, 2), a rule in the first role, a CN for the first device.
async fn fleet() -> Fresh {
    let fresh = Fresh::new().await;
    fresh
        .sqlite3(
            "INSERT INTO devices (name) VALUES ('a'), ('b');
             INSERT INTO roles (name) VALUES ('r'), ('s');
             INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'publish', 'x/%u');
             INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'a');
             INSERT INTO device_roles VALUES (1, 1);",
        )
        .unwrap();
    fresh.log();
    fresh
}

#[test]
fn nonsense_is_refused() {
    run(async {
        let fresh = fleet().await;
        for (sql, complaint) in [
            ("INSERT INTO devices (name) VALUES ('a/b')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('a+')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('')", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('c' || char(0))", "CHECK"),
            ("INSERT INTO devices (name) VALUES ('c' || char(10))", "CHECK"),
            ("INSERT INTO devices (name) VALUES (x'ff')", "TEXT"),
            ("UPDATE devices SET status = 'gone' WHERE id = 1", "CHECK"),
            ("UPDATE devices SET attributes = '[]' WHERE id = 1", "CHECK"),
            ("UPDATE devices SET attributes = 'x' WHERE id = 1", "CHECK"),
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
            ("UPDATE credentials SET issuer = 'CN=ca'", "CHECK"),
            ("UPDATE credentials SET kind = 'x509_sha256'", "CHECK"),
            ("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_spki_sha256', 'aa')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('', '1')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=ca', '')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=ca', '1g')", "CHECK"),
            ("INSERT INTO revoked_certificates (issuer, serial) VALUES ('CN=ca' || char(0), '1')", "CHECK"),
            ("INSERT INTO device_roles VALUES (1, 1)", "UNIQUE"),
        ] {
            let answer = fresh.sqlite3(sql).unwrap_err();
            assert!(answer.contains(complaint), "{sql}: {answer}");
        }
        assert!(fresh.log().is_empty());
    });
}

#[test]
fn every_valid_filter_is_accepted() {
    run(async {
        let fresh = fleet().await;
        for topic in
            ["#", "+", "/", "a", "a/#", "+/+", "/#", "a//b", "$SYS/#", "a/+/b/%u/#", "dev-%u/x", "a b", "ü/%{s}"]
        {
            let sql =
                format!("INSERT INTO rules (role_id, effect, action, topic) VALUES (1, 'allow', 'all', '{topic}')");
            fresh.sqlite3(&sql).unwrap();
        }
    });
}

#[test]
fn a_reference_to_nothing_is_refused_though_foreign_keys_are_off() {
    run(async {
        let fresh = fleet().await;
        assert_eq!(fresh.sqlite3("PRAGMA foreign_keys").unwrap(), "0");
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
            let answer = fresh.sqlite3(sql).unwrap_err();
            assert!(answer.contains("no such"), "{sql}: {answer}");
        }
    });
}

#[test]
fn an_identity_means_one_device() {
    run(async {
        let fresh = fleet().await;
        fresh.sqlite3("INSERT INTO credentials (device_id, kind, identity) VALUES (1, 'x509_cn', 'cn')").unwrap();
        for sql in [
            "INSERT INTO credentials (device_id, kind, identity) VALUES (2, 'x509_cn', 'a')",
            "INSERT INTO credentials (device_id, kind, identity, secret) VALUES (2, 'password', 'cn', 's')",
            "UPDATE credentials SET device_id = 2 WHERE identity = 'a'",
            "INSERT INTO devices (name) VALUES ('cn')",
            "UPDATE devices SET name = 'cn' WHERE id = 2",
        ] {
            let answer = fresh.sqlite3(sql).unwrap_err();
            assert!(answer.contains("another device"), "{sql}: {answer}");
        }
        fresh.sqlite3("UPDATE devices SET name = 'cn' WHERE id = 1").unwrap();
    });
}

#[test]
fn every_change_is_logged_for_whom_it_concerns() {
    run(async {
        let fresh = fleet().await;
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
            fresh.sqlite3(sql).unwrap_or_else(|answer| panic!("{sql}: {answer}"));
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
    run(async {
        let fresh = fleet().await;
        fresh.sqlite3("INSERT OR REPLACE INTO devices (name) VALUES ('a')").unwrap();
        assert_eq!(fresh.log(), ["device 1", "device 3"]);
        fresh.sqlite3("INSERT OR REPLACE INTO roles (name) VALUES ('r')").unwrap();
        assert_eq!(fresh.log(), ["role 1", "role 3"]);
        fresh
            .sqlite3("INSERT OR REPLACE INTO rules SELECT id, 2, effect, action, topic, NULL, NULL FROM rules")
            .unwrap();
        assert_eq!(fresh.log(), ["role 1", "role 2"]);
    });
}

#[test]
fn nothing_of_a_replaced_device_passes_to_the_new_one() {
    run(async {
        let fresh = fleet().await;
        fresh.sqlite3("INSERT OR REPLACE INTO devices (name, status) VALUES ('a', 'active')").unwrap();
        let id = fresh.sqlite3("SELECT id FROM devices WHERE name = 'a'").unwrap();
        assert_ne!(id, "1", "an id is never used again");
        let left = fresh.sqlite3(&format!("SELECT count(*) FROM device_roles WHERE device_id = {id}")).unwrap();
        assert_eq!(left, "0");
        let same_id = "INSERT OR REPLACE INTO devices (id, name) VALUES (2, 'c')";
        fresh.log();
        fresh.sqlite3(same_id).unwrap();
        assert_eq!(fresh.log(), ["device 2", "device 2"]);
    });
}

#[test]
fn a_change_that_is_rolled_back_is_not_logged() {
    run(async {
        let fresh = fleet().await;
        fresh.sqlite3("BEGIN; UPDATE devices SET status = 'revoked'; ROLLBACK;").unwrap();
        assert!(fresh.log().is_empty());
    });
}

#[test]
fn a_pre_shared_key_cannot_be_shared_by_two_credentials() {
    run(async {
        let fresh = fleet().await;
        let psk = |device, identity| {
            format!(
                "INSERT INTO credentials (device_id, kind, identity, secret, secret_digest)
                 VALUES ({device}, 'psk', '{identity}', 'sealed', 'same')"
            )
        };
        fresh.sqlite3(&psk(1, "p")).unwrap();
        let answer = fresh.sqlite3(&psk(2, "q")).unwrap_err();
        assert!(answer.contains("secret_digest"), "{answer}");
    });
}
