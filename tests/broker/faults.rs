//! Faults of the database and of the way to it, each on brokers of every kind at once. With `--nocapture` it is printed
//! what the longest callback and the longest answer to a ping were in each.

use std::thread;
use std::time::Duration;

use crate::harness::{Choice, MAX_STALENESS, Stage, eventually};
use crate::servers::Kind;
use crate::servers::proxy::{Way, Which};

const AWAY: &str = "database is away";
const BACK: &str = "database is back";

/// The same fault on both kinds of servers, at the same time.
fn on_servers(fault: &str, test: impl Fn(&mut Stage) + Sync) {
    thread::scope(|scope| {
        for kind in [Kind::Postgres, Kind::Mariadb] {
            let test = &test;
            let body = move || {
                let mut stage = Stage::new(fault, kind);
                test(&mut stage);
                stage.end();
            };
            thread::Builder::new().name(format!("{kind:?}")).spawn_scoped(scope, body).unwrap();
        }
    });
}

#[test]
fn a_server_that_is_stopped() {
    on_servers("server stopped", |stage| {
        stage.revoke();
        stage.server.stop();
        stage.none_strict_admits_the_revoked();
        stage.all_do_without();
        stage.all_say("does not answer");
        stage.all_do_without();
        stage.server.go_on();
        stage.all_say(BACK);
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_server_that_is_killed_and_started_again() {
    on_servers("server killed", |stage| {
        stage.revoke();
        stage.server.kill();
        stage.none_strict_admits_the_revoked();
        stage.all_say(AWAY);
        stage.all_do_without();
        stage.server.start_again();
        stage.all_say(BACK);
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_way_on_which_everything_gets_lost() {
    on_servers("black hole", |stage| {
        stage.proxy.set(Way::BlackHole);
        // The server is well, and takes it.
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        stage.all_say(AWAY);
        stage.all_do_without();
        stage.proxy.set(Way::Pass);
        stage.all_say(BACK);
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_connection_that_goes_silent_while_the_server_is_well() {
    on_servers("one connection cut", |stage| {
        assert!(stage.proxy.cut(Which::Others) >= stage.brokers().count());
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        // Nothing has to be mended: another connection works.
        stage.all_say(BACK);
        stage.revocation_is_in_force();
    });
}

#[test]
fn connections_that_are_reset_every_second() {
    on_servers("reset every second", |stage| {
        let reset = |stage: &Stage| {
            stage.proxy.reset();
            thread::park_timeout(Duration::from_secs(1));
        };
        for _ in 0..3 {
            reset(stage);
        }
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        for _ in 0..5 {
            reset(stage);
            stage.none_strict_admits_the_revoked();
        }
        // It comes through in between.
        stage.revocation_is_in_force();
        stage.all_say(BACK);
    });
}

#[test]
fn an_answer_that_is_late() {
    on_servers("every answer 200 ms late", |stage| {
        stage.proxy.set(Way::Late(Duration::from_millis(200)));
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        stage.proxy.set(Way::Pass);
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_disk_that_is_full() {
    // MariaDB writes its files from end to end at any time, so the limit that stands for a full disk would damage it.
    let mut stage = Stage::new("disk full", Kind::Postgres);
    stage.server.fill_disk(true);
    let insert = "INSERT INTO devices (name) SELECT 'filler-' || gen_random_uuid() || repeat('x', 200)
                  FROM generate_series(1, 3000)";
    let complaint = eventually("the disk is full", || stage.fleet.try_sql(insert).err());
    assert!(complaint.contains("could not extend file"), "{complaint}");
    stage.proxy.reset();
    stage.all_say(BACK);
    stage.all_admit();
    stage.server.fill_disk(false);
    stage.revoke();
    stage.none_strict_admits_the_revoked();
    stage.revocation_is_in_force();
    stage.end();
}

#[test]
fn a_server_that_is_read_only() {
    on_servers("read-only", |stage| {
        let read_only = |on: bool| match stage.server.kind() {
            Kind::Postgres => {
                stage.fleet.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {on}"));
                stage.fleet.sql("SELECT pg_reload_conf()");
            }
            _ => {
                stage.fleet.sql(&format!("SET GLOBAL read_only = {on}"));
            }
        };
        read_only(true);
        stage.proxy.reset();
        stage.all_say(BACK);
        stage.all_admit();
        read_only(false);
        eventually("it takes the revocation", || {
            stage.fleet.try_sql("UPDATE devices SET status = 'revoked' WHERE name = 'device-leaves'").ok()
        });
        stage.none_strict_admits_the_revoked();
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_password_that_was_changed() {
    on_servers("password changed", |stage| {
        let set = |password: &str| {
            stage.fleet.sql(&if stage.server.kind() == Kind::Postgres {
                format!("ALTER ROLE plugin PASSWORD '{password}'")
            } else {
                format!("ALTER USER plugin@'%' IDENTIFIED BY '{password}'")
            });
        };
        set("second");
        // Who is connected stays so.
        stage.all_admit();
        stage.proxy.reset();
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        stage.all_say("refuses");
        stage.all_do_without();
        for (_, broker) in stage.brokers() {
            assert!(!broker.log().contains("f1rst"), "no password is in a log");
        }
        set("f1rst");
        stage.all_say(BACK);
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_table_that_is_dropped_and_restored() {
    on_servers("table dropped", |stage| {
        stage.revoke();
        let backup = stage.fleet.on_its_server().dump("revoked_certificates");
        stage.fleet.sql(match stage.server.kind() {
            Kind::Postgres => "DROP TABLE revoked_certificates",
            _ => "SET foreign_key_checks = 0; DROP TABLE revoked_certificates",
        });
        stage.all_say(AWAY);
        stage.none_strict_admits_the_revoked();
        stage.all_do_without();
        stage.fleet.on_its_server().session().done(&backup);
        stage.all_say(BACK);
        stage.revocation_is_in_force();
    });
}

#[test]
fn a_schema_that_gets_newer() {
    on_servers("migration", |stage| {
        let postgres = stage.server.kind() == Kind::Postgres;
        stage.fleet.sql(if postgres {
            "BEGIN; ALTER TABLE devices ADD COLUMN colour TEXT; ALTER TABLE credentials ADD COLUMN colour TEXT;
             INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, '', 0); COMMIT"
        } else {
            "ALTER TABLE devices ADD COLUMN colour TEXT; ALTER TABLE credentials ADD COLUMN colour TEXT;
             INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of a later release', true, '', 0)"
        });
        // Brokers that run go on, so that they can be brought up to date one after the other.
        stage.revoke();
        stage.revocation_is_in_force();
        for (_, broker) in stage.brokers() {
            assert_eq!(broker.count_in_log("upgrade mosquitto-warden"), 0);
        }
        // A new connection sees it, and does not guess what a later release means.
        stage.proxy.reset();
        stage.all_say("upgrade mosquitto-warden");
        stage.all_do_without();
        stage.fleet.sql("DELETE FROM _sqlx_migrations WHERE version = 9999");
        stage.all_say(BACK);
        stage.all_admit();
    });
}

#[test]
fn a_server_whose_clock_is_set_back() {
    on_servers("clock set back", |stage| {
        let now = || -> i64 {
            let postgres = stage.server.kind() == Kind::Postgres;
            let clock = if postgres { "extract(epoch FROM now())::bigint" } else { "unix_timestamp()" };
            stage.fleet.sql(&format!("SELECT {clock}")).trim().parse().unwrap()
        };
        let before = now();
        stage.server.set_clock_back();
        assert!(now() < before - 3000, "its clock is back by an hour");
        stage.all_admit();
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        stage.revocation_is_in_force();
        for (_, broker) in stage.brokers() {
            assert_eq!(broker.count_in_log(AWAY), 0);
        }
    });
}

#[test]
fn only_the_connection_that_listens_is_cut() {
    let mut stage = Stage::new("LISTEN cut", Kind::Postgres);
    let brokers = stage.brokers().count();
    eventually("every broker listens", || (stage.proxy.count(Which::Listening) == brokers).then_some(()));
    assert_eq!(stage.proxy.cut(Which::Listening), brokers);
    stage.revoke();
    stage.none_strict_admits_the_revoked();
    // The other connection asks nonetheless.
    stage.revocation_is_in_force();
    eventually("every broker listens again", || (stage.proxy.count(Which::Listening) == brokers).then_some(()));
    stage.all_say("the database notifies again");
    for (_, broker) in stage.brokers() {
        assert_eq!(broker.count_in_log(AWAY), 0);
    }
    stage.end();
}

#[test]
fn a_flood_of_notifications() {
    let mut stage = Stage::new("NOTIFY flood", Kind::Postgres);
    // Somebody who listens has a transaction open: as long as it is, nothing leaves the queue.
    let mut holder = stage.fleet.on_its_server().session();
    holder.say("LISTEN mosquitto_warden; BEGIN; SELECT 1");
    let flood =
        "SELECT count(pg_notify('mosquitto_warden', repeat('x', 500) || n)) FROM generate_series(1, 20000) AS t (n)";
    thread::scope(|scope| {
        let flooding = scope.spawn(|| (0..5).for_each(|_| drop(stage.fleet.sql(flood))));
        while !flooding.is_finished() {
            stage.all_admit();
        }
        stage.revoke();
        stage.none_strict_admits_the_revoked();
    });
    stage.revocation_is_in_force();
    let usage = stage.fleet.sql("SELECT pg_notification_queue_usage() > 0.005");
    assert_eq!(usage.trim(), "t", "the queue is held up");
    holder.done("COMMIT");
    stage.end();
}

#[test]
fn a_load_of_many_rows() {
    on_servers("20,000 devices in one commit", |stage| {
        let numbers = if stage.server.kind() == Kind::Postgres {
            "generate_series(1, 20000) AS t (n)"
        } else {
            "(SELECT seq AS n FROM seq_1_to_20000) AS t"
        };
        stage.fleet.sql(&format!("INSERT INTO devices (name) SELECT concat('bulk-', n) FROM {numbers}"));
        // Who is revoked behind so many is not known as soon as else, but no later than the policy may be old.
        stage.revoke();
        stage.none_strict_admits_the_revoked();
        thread::park_timeout(MAX_STALENESS);
        for (choice, broker) in stage.brokers().filter(|(choice, _)| *choice == Choice::Bounded) {
            assert!(!stage.admits_the_revoked(broker), "{choice:?}");
        }
        stage.until_all_have_seen_it(Duration::from_mins(2));
        stage.revocation_is_in_force();
    });
}
