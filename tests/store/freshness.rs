//! Whoever waits until the database has confirmed the policy finds in it whatever was committed before, and where a look
//! at memory tells that nothing was, nobody waits.

use std::fs;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mosquitto_warden::database::Database;
use mosquitto_warden::live::{Live, Sources};
use mosquitto_warden::policy::device::DeviceStatus;
use mosquitto_warden::store::feed::{Feed, Stillness, Update};

use crate::servers::{answer, writer::Writer};
use crate::{Fresh, on_every_database, on_sqlite};

/// How often something is committed and looked for.
const COMMITS: usize = 300;

fn place(fresh: &Fresh) -> String {
    match &fresh.database {
        Database::Sqlite(path) => path.to_str().unwrap().to_owned(),
        other => other.to_string(),
    }
}

/// What is followed, on a thread of its own, and not asked again before somebody wants to know.
fn followed(fresh: &Fresh) -> Live {
    let mut sources = Sources::only(fresh.database.clone());
    sources.poll_interval = Duration::from_secs(30);
    thread::spawn(|| Live::start(sources, || {}).unwrap()).join().unwrap()
}

#[test]
fn what_is_committed_before_the_question_is_in_the_policy() {
    on_every_database(async |fresh| {
        fresh.sql("INSERT INTO devices (name) VALUES ('d1')").unwrap();
        let live = followed(&fresh);
        let mut writer = Writer::new(&place(&fresh)).await;
        for number in 0..COMMITS {
            let (status, expected) =
                if number % 2 == 0 { ("revoked", DeviceStatus::Revoked) } else { ("active", DeviceStatus::Active) };
            let statement = format!("UPDATE devices SET status = '{status}' WHERE name = 'd1'");
            writer.execute(&statement).await.unwrap();
            for question in 0..3 {
                live.confirm(Duration::from_secs(10)).unwrap();
                let found = live.snapshot().device_named("d1").unwrap().status;
                assert_eq!(found, expected, "commit {number}, question {question}");
            }
        }
    });
}

#[test]
fn who_is_woken_and_does_not_tick_is_woken_again() {
    on_every_database(async |fresh| {
        fresh.sql("INSERT INTO devices (name) VALUES ('d1')").unwrap();
        let (wake, woken) = mpsc::channel();
        let sources = Sources::only(fresh.database.clone());
        let start = || Live::start(sources, move || wake.send(()).unwrap_or_default()).unwrap();
        let live = thread::spawn(start).join().unwrap();
        assert!(woken.try_recv().is_err(), "nothing has happened yet");
        fresh.sql("UPDATE devices SET status = 'revoked' WHERE name = 'd1'").unwrap();
        for time in 0..3 {
            assert_eq!(woken.recv_timeout(Duration::from_secs(30)), Ok(()), "{time}");
        }
        live.heard();
        assert!(live.take_consequences().unwrap().is_some());
    });
}

async fn still(feed: &mut Feed) -> Stillness {
    while !feed.stillness().is_some_and(|stillness| stillness.holds()) {
        feed.update().await.unwrap();
    }
    feed.stillness().unwrap()
}

#[test]
fn every_commit_of_anybody_shows_in_memory() {
    on_sqlite(async |fresh| {
        let mut feed = Feed::open_again(&fresh.database).await.unwrap();
        assert!(feed.stillness().is_none(), "nothing was read yet");
        let mut writer = Writer::new(&place(&fresh)).await;
        for number in 0..20 {
            let stillness = still(&mut feed).await;
            writer.execute("BEGIN IMMEDIATE").await.unwrap();
            writer.execute(&format!("INSERT INTO devices (name) VALUES ('d{number}')")).await.unwrap();
            assert!(stillness.holds(), "nothing is committed yet");
            writer.execute("ROLLBACK").await.unwrap();
            assert!(stillness.holds(), "nothing was committed");
            fresh.sql("SELECT count(*) FROM devices").unwrap();
            assert!(stillness.holds(), "somebody has read");

            fresh.sql(&format!("INSERT INTO devices (name) VALUES ('d{number}')")).unwrap();
            assert!(!stillness.holds(), "by another process");
            assert!(matches!(feed.update().await.unwrap(), Update::Everything(_) | Update::Changes(_)));
            assert!(!stillness.holds(), "that was the one before");

            let stillness = still(&mut feed).await;
            writer.execute(&format!("DELETE FROM devices WHERE name = 'd{number}'")).await.unwrap();
            assert!(!stillness.holds(), "in this process");
            if number % 4 == 0 {
                // The log begins anew with the next commit.
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
            }
            assert!(!stillness.holds(), "what was is never again");
            assert!(matches!(feed.update().await.unwrap(), Update::Changes(_)));
        }
    });
}

#[test]
fn a_database_without_a_log_of_its_own_is_asked_each_time() {
    on_sqlite(async |fresh| {
        let path = fresh.directory.path().join("other.db");
        fresh.sql(&format!("VACUUM INTO '{}'", path.display())).unwrap();
        let sql = |sql| answer(Command::new("sqlite3").arg(&path).arg(sql).output().unwrap()).unwrap();
        assert_eq!(sql("PRAGMA journal_mode"), "delete");
        let mut feed = Feed::open(&path.as_path().into()).await.unwrap();
        feed.update().await.unwrap();
        assert!(feed.stillness().is_none());
        assert!(!fs::exists(path.with_extension("db-shm")).unwrap(), "none was made");
        sql("INSERT INTO devices (name) VALUES ('d1')");
        assert!(matches!(feed.update().await.unwrap(), Update::Changes(_)));
        assert!(matches!(feed.update().await.unwrap(), Update::Nothing));
    });
}
