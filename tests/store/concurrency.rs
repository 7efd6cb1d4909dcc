//! Eight writers with random transactions: short ones and such that stay open for more than a second, rolled back or
//! committed, in any order, some of ten thousand rows. What a reader knows is the truth whenever they are quiet, and no
//! revocation is seen late, whoever else has something open.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use mosquitto_warden::database::Database;
use mosquitto_warden::policy::device::DeviceStatus;

use crate::reader::Reader;
use crate::servers::writer::Writer;
use crate::{Fresh, Kind, on_every_database};

const WRITERS: usize = 8;
const PHASES: usize = 3;
/// How many transactions each writer makes before all are quiet.
const TRANSACTIONS: usize = 12;
/// As many rows are changed at once now and then.
const BULK: usize = 10_000;
/// How often a reader asks, where it is not woken.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long after its commit a revocation may be seen at the latest: a pause, the reading that is going on, and the one
/// that sees it. What is read may be ten thousand rows, by a test build on a machine with much else to do.
const BOUND: Duration = Duration::from_secs(8);

/// Numbers that look as if they came from nowhere, and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Which devices were revoked, and when their commits had returned.
type Committed = BTreeMap<String, Instant>;

fn place(fresh: &Fresh) -> String {
    match &fresh.database {
        Database::Sqlite(path) => path.to_str().unwrap().to_owned(),
        other => other.to_string(),
    }
}

/// What one writer does until all are quiet. Each of its own devices is revoked once at most.
async fn write(kind: Kind, database: &mut Writer, (writer, phase): (usize, usize)) -> (Committed, BTreeSet<String>) {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ (((writer * PHASES + phase) as u64 + 1) << 20));
    let (mut committed, mut rolled_back) = (Committed::new(), BTreeSet::new());
    let slow = numbers.below(TRANSACTIONS as u64);
    for number in 0..TRANSACTIONS {
        let device = format!("d-{phase}-{writer}-{number}");
        // One writer at a time is what an SQLite file has: the others wait for it.
        let begin = if kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        database.execute(begin).await.unwrap();
        let revoke = format!("UPDATE devices SET status = 'revoked' WHERE name = '{device}'");
        let also = format!("UPDATE devices SET status = 'suspended' WHERE name = 'n-{writer}-{}'", numbers.below(5));
        let back = format!("UPDATE devices SET status = 'active' WHERE name = 'n-{writer}-{}'", numbers.below(5));
        for statement in [&revoke, &also, &back] {
            database.execute(statement).await.unwrap();
        }
        if writer == 0 && number % 6 == 3 {
            let status = if number < 6 { "suspended" } else { "active" };
            let bulk = format!("UPDATE devices SET status = '{status}' WHERE id BETWEEN 1 AND {BULK}");
            database.execute(&bulk).await.unwrap();
        }
        let longest = if kind == Kind::Sqlite { 5 } else { 60 };
        let open = if number as u64 == slow && kind != Kind::Sqlite { 1200 } else { numbers.below(longest) };
        tokio::time::sleep(Duration::from_millis(open)).await;
        if numbers.below(4) == 0 {
            database.execute("ROLLBACK").await.unwrap();
            rolled_back.insert(device);
        } else {
            database.execute("COMMIT").await.unwrap();
            committed.insert(device, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(numbers.below(30))).await;
    }
    (committed, rolled_back)
}

#[test]
fn eight_writers_who_do_as_they_like_leave_the_reader_with_the_truth_in_time() {
    on_every_database(async |fresh| {
        let mut names: Vec<String> = (0..BULK).map(|number| format!("b-{number}")).collect();
        names.extend((0..WRITERS).flat_map(|writer| (0..5).map(move |number| format!("n-{writer}-{number}"))));
        let of_writers = (0..PHASES * WRITERS * TRANSACTIONS)
            .map(|number| (number / WRITERS / TRANSACTIONS, number / TRANSACTIONS % WRITERS, number % TRANSACTIONS));
        names.extend(of_writers.map(|(phase, writer, number)| format!("d-{phase}-{writer}-{number}")));
        let mut setting_up = Writer::new(&place(&fresh)).await;
        let values: Vec<String> = names.iter().map(|name| format!("('{name}')")).collect();
        setting_up.execute(&format!("INSERT INTO devices (name) VALUES {}", values.join(", "))).await.unwrap();
        setting_up.execute("INSERT INTO devices (name) VALUES ('open')").await.unwrap();
        let mut reader = Reader::new(&fresh).await;
        // Somebody who has begun and does not come to an end holds up nobody.
        if fresh.kind != Kind::Sqlite {
            setting_up.execute("BEGIN").await.unwrap();
            setting_up.execute("UPDATE devices SET status = 'revoked' WHERE name = 'open'").await.unwrap();
        }
        let mut delays = Vec::new();
        for phase in 0..PHASES {
            delays.extend(one_phase(&fresh, &mut reader, phase).await);
        }
        let open = reader.devices.iter().find(|(_, device)| &*device.name == "open").map(|(id, _)| *id).unwrap();
        assert_eq!(reader.status(open), Some(DeviceStatus::Active));
        if fresh.kind != Kind::Sqlite {
            setting_up.execute("COMMIT").await.unwrap();
            assert_eq!(reader.update().await, [open]);
            assert_eq!(reader.status(open), Some(DeviceStatus::Revoked));
        }
        assert_eq!(reader.whole, 1, "it never had to read everything again");
        delays.sort();
        let [p50, p99, max] = [delays[delays.len() / 2], delays[delays.len() * 99 / 100], delays[delays.len() - 1]];
        println!("{:?}: {} revocations seen p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}", fresh.kind, delays.len());
        assert!(max < BOUND, "{:?}: a revocation was seen {max:?} after its commit", fresh.kind);
    });
}

#[test]
fn a_change_of_many_rows_costs_the_same_in_a_session_that_has_changed_one_before() {
    on_every_database(async |fresh| {
        let names: Vec<String> = (0..2 * BULK).map(|number| format!("('b-{number}')")).collect();
        let mut session = Writer::new(&place(&fresh)).await;
        session.execute(&format!("INSERT INTO devices (name) VALUES {}", names.join(", "))).await.unwrap();
        let mut reader = Reader::new(&fresh).await;
        // As often as it takes until a server keeps a plan.
        for number in 1..=8 {
            session.execute(&format!("UPDATE devices SET status = 'suspended' WHERE id = {number}")).await.unwrap();
        }
        let begun = Instant::now();
        session.execute("UPDATE devices SET status = 'revoked'").await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}: it took {:?}", fresh.kind, begun.elapsed());
        assert_eq!(reader.update().await.len(), 2 * BULK);
        assert!(reader.devices.values().all(|device| device.status == DeviceStatus::Revoked));
    });
}

/// Lets all write and the reader read; how long after its commit each revocation was seen.
async fn one_phase(fresh: &Fresh, reader: &mut Reader, phase: usize) -> Vec<Duration> {
    let mut seen: BTreeMap<String, Instant> = BTreeMap::new();
    let (place, kind) = (place(fresh), fresh.kind);
    let writers: Vec<thread::JoinHandle<_>> = (0..WRITERS)
        .map(|writer| {
            let place = place.clone();
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut database = Writer::new(&place).await;
                    write(kind, &mut database, (writer, phase)).await
                })
            })
        })
        .collect();
    loop {
        let quiet = writers.iter().all(thread::JoinHandle::is_finished);
        for id in reader.update().await {
            if let Some(device) = reader.devices.get(&id).filter(|device| device.status == DeviceStatus::Revoked) {
                seen.entry(device.name.to_string()).or_insert_with(Instant::now);
            }
        }
        if quiet {
            break;
        }
        reader.feed.wait(POLL_INTERVAL).await;
    }
    let done: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    reader.is_as_a_fresh_one(fresh).await;
    let mut delays = Vec::new();
    for (committed, rolled_back) in done {
        for (device, at) in committed {
            let seen = seen.get(&device).unwrap_or_else(|| panic!("{kind:?}: {device} was never seen revoked"));
            delays.push(seen.saturating_duration_since(at));
        }
        for device in rolled_back {
            assert!(!seen.contains_key(&device), "{kind:?}: {device} was not revoked");
        }
    }
    delays
}
