//! Making, opening, migrating, and every kind of file that is refused.

use std::fs;
use std::os::unix::fs::MetadataExt;

use mosquitto_warden::store::{OpenMode, SchemaState, Store, StoreError};

use crate::{on_sqlite, run};

const MODES: [OpenMode; 2] = [OpenMode::Read, OpenMode::Write];

#[test]
fn a_database_is_made_once_and_kept_afterwards() {
    on_sqlite(async |mut fresh| {
        fresh.store.add_role("sensor", None, false).await.unwrap();
        let (mut again, created) = Store::create(&fresh.path().as_path().into(), None).await.unwrap();
        assert!(!created.new);
        assert_eq!(created.before, SchemaState::Current { version: 3 });
        assert_eq!(again.roles().await.unwrap().len(), 1);
    });
}

#[test]
fn a_new_database_is_for_its_owner_and_group_and_keeps_a_write_ahead_log() {
    on_sqlite(async |mut fresh| {
        fresh.store.add_role("sensor", None, false).await.unwrap();
        for name in ["warden.db", "warden.db-wal", "warden.db-shm"] {
            let mode = fs::metadata(fresh.directory.path().join(name)).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o660, "{name}");
        }
        assert_eq!(fresh.sql("PRAGMA journal_mode").unwrap(), "wal");
    });
}

#[test]
fn a_missing_database_names_the_command_that_makes_one() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("warden.db");
        for mode in MODES {
            let error = Store::open(&path.as_path().into(), mode).await.unwrap_err();
            assert!(error.to_string().ends_with("`warden init` makes one"), "{error}");
        }
        assert!(!path.exists(), "opening must not make one");
    });
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let error = Store::create(&directory.path().join("no/warden.db").as_path().into(), None).await.unwrap_err();
        assert!(matches!(error, StoreError::NoDirectory { .. }), "{error}");
    });
}

#[test]
fn what_is_not_a_database_is_refused_and_left_alone() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("warden.db");
        for content in ["x", "SQLite format 3", &"no database at all\n".repeat(100)] {
            fs::write(&path, content).unwrap();
            for mode in MODES {
                let error = Store::open(&path.as_path().into(), mode).await.unwrap_err();
                assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
            }
            assert!(matches!(Store::create(&path.as_path().into(), None).await, Err(StoreError::NotADatabase { .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let error = Store::open(&directory.path().into(), OpenMode::Read).await.unwrap_err();
        assert!(matches!(error, StoreError::NotAFile { .. }), "{error}");
    });
}

#[test]
fn a_database_cut_off_at_any_page_is_refused() {
    on_sqlite(async |fresh| {
        let path = fresh.path();
        fresh.store.close().await.unwrap();
        let whole = fs::read(&path).unwrap();
        for len in (100..whole.len()).step_by(4096).chain([whole.len() - 1]) {
            fs::write(&path, &whole[..len]).unwrap();
            for mode in MODES {
                let error = Store::open(&path.as_path().into(), mode).await.unwrap_err();
                assert!(matches!(error, StoreError::Truncated { .. }), "{len}: {error}");
            }
        }
        fs::write(&path, &whole).unwrap();
        Store::open(&path.as_path().into(), OpenMode::Write).await.unwrap();
    });
}

#[test]
fn a_database_with_its_schema_overwritten_is_called_damaged() {
    on_sqlite(async |fresh| {
        let path = fresh.path();
        fresh.store.close().await.unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[100..4096].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        let error = Store::open(&path.as_path().into(), OpenMode::Read).await.unwrap_err();
        assert!(error.to_string().ends_with("damaged; restore it from a backup"), "{error}");
    });
}

#[test]
fn an_empty_file_has_no_schema_until_it_is_given_one() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("warden.db");
        fs::write(&path, "").unwrap();
        let error = Store::open(&path.as_path().into(), OpenMode::Read).await.unwrap_err();
        assert!(error.to_string().ends_with("has no schema yet; run `warden init`"), "{error}");
        let (_, created) = Store::create(&path.as_path().into(), None).await.unwrap();
        assert_eq!(created.before, SchemaState::Missing);
        Store::open(&path.as_path().into(), OpenMode::Read).await.unwrap();
    });
}

#[test]
fn a_database_of_something_else_is_left_alone() {
    on_sqlite(async |fresh| {
        fresh.sql("DROP TABLE _sqlx_migrations").unwrap();
        let error = Store::open(&fresh.path().as_path().into(), OpenMode::Write).await.unwrap_err();
        assert!(error.to_string().ends_with("has no schema yet; run `warden init`"), "{error}");
        let error = Store::create(&fresh.path().as_path().into(), None).await.unwrap_err();
        assert!(error.to_string().contains("tables of something else"), "{error}");
    });
}

#[test]
fn an_older_schema_names_the_command_and_a_newer_one_the_upgrade() {
    on_sqlite(async |fresh| {
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'later', 1, x'00', 0)";
        fresh.sql(later).unwrap();
        for mode in MODES {
            let error = Store::open(&fresh.path().as_path().into(), mode).await.unwrap_err();
            assert!(error.to_string().ends_with("upgrade mosquitto-warden"), "{error}");
        }
        let error = Store::create(&fresh.path().as_path().into(), None).await.unwrap_err();
        assert!(error.to_string().ends_with("upgrade mosquitto-warden"), "{error}");
        let older = SchemaState::Older { found: 1, needed: 2 }.current().unwrap_err();
        assert!(older.to_string().ends_with("run `warden init`"), "{older}");
    });
}

#[test]
fn a_schema_that_nobody_released_is_refused() {
    on_sqlite(async |fresh| {
        fresh.sql("UPDATE _sqlx_migrations SET checksum = x'00'").unwrap();
        for mode in MODES {
            let error = Store::open(&fresh.path().as_path().into(), mode).await.unwrap_err();
            assert!(
                error.to_string().contains("is not the one that this version of mosquitto-warden was released with"),
                "{error}"
            );
        }
    });
}

#[test]
fn a_writer_waits_for_another_and_then_gives_up_in_words() {
    on_sqlite(async |mut fresh| {
        let options = mosquitto_warden::store::sqlite::connect_options(&fresh.path(), false);
        let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let error = fresh.store.add_role("sensor", None, false).await.unwrap_err();
        assert!(matches!(error, StoreError::Busy), "{error}");
        // Readers are not held up.
        assert!(fresh.store.roles().await.unwrap().is_empty());
        sqlx::query("COMMIT").execute(&mut other).await.unwrap();
        fresh.store.add_role("sensor", None, false).await.unwrap();
    });
}

#[test]
fn a_reading_store_cannot_write() {
    on_sqlite(async |fresh| {
        let mut reader = Store::open(&fresh.path().as_path().into(), OpenMode::Read).await.unwrap();
        assert!(matches!(reader.add_role("sensor", None, false).await, Err(StoreError::ReadOnly)));
    });
}
