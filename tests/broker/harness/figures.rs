//! What happens to a thousand connected clients, with the times that it took: asserted by tests, printed by benches.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, PgConnection, SqliteConnection};

use super::{Broker, Client, Connect, Crowd, Fleet, Heard, Mosquitto, Packet};
use crate::servers::Kind;

const PINGREQ: [u8; 2] = [0xC0, 0];

/// A broker with this many devices, all of which are connected with certificates and subscribed.
pub(crate) fn crowd(mosquitto: &Mosquitto, example: &str, many: usize, kind: Kind) -> (Fleet, Broker, Crowd) {
    let fleet = Fleet::with_sensors_on(kind);
    let names: Vec<String> = (0..many).map(|number| format!("('{}')", name(number))).collect();
    fleet.sql(&format!(
        "BEGIN;
         INSERT INTO devices (name) VALUES {};
         INSERT INTO credentials (device_id, kind, identity) SELECT id, 'x509_cn', name FROM devices;
         INSERT INTO device_roles SELECT d.id, r.id FROM devices d, roles r;
         COMMIT",
        names.join(", ")
    ));
    let broker = fleet.start(mosquitto, example);
    let crowd = Crowd::new((0..many).map(|number| {
        let login = fleet.ca.device_with_raw_name(name(number).as_bytes());
        let mut client = Client::connect(&broker, &login, &Connect::v311(name(number)));
        assert_eq!(client.subscribe(&format!("devices/{}/cmd", name(number)), 0).unwrap(), 0);
        client
    }));
    (fleet, broker, crowd)
}

/// Revokes one device after the other, and tells how long after each commit its session was closed, in rising order.
/// Nobody else's is.
pub(crate) fn revocations(fleet: &Fleet, crowd: &mut Crowd, numbers: impl Iterator<Item = usize>) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut database = runtime.block_on(Writer::new(&fleet.place()));
    let mut times: Vec<Duration> = numbers
        .map(|number| {
            let committed = runtime.block_on(database.revoke(&name(number)));
            crowd.listen(|index, heard, when| match heard {
                Heard::Closed if index == number => ControlFlow::Break(when.saturating_duration_since(committed)),
                Heard::Closed => panic!("{} was thrown off, and not {}", name(index), name(number)),
                Heard::Packet(_) => ControlFlow::Continue(()),
            })
        })
        .collect();
    times.sort();
    times
}

/// Somebody who has the database open.
enum Writer {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    Mysql(MySqlConnection),
}

impl Writer {
    async fn new(place: &str) -> Self {
        match place.split_once("://") {
            Some(("postgres", _)) => Self::Postgres(PgConnection::connect(place).await.unwrap()),
            Some(_) => Self::Mysql(MySqlConnection::connect(place).await.unwrap()),
            None => Self::Sqlite(SqliteConnectOptions::new().filename(place).connect().await.unwrap()),
        }
    }

    /// The moment at which the commit was done.
    async fn revoke(&mut self, device: &str) -> Instant {
        let statement = AssertSqlSafe(format!("UPDATE devices SET status = 'revoked' WHERE name = '{device}'"));
        match self {
            Self::Sqlite(it) => sqlx::raw_sql(statement).execute(it).await.map(|_| ()),
            Self::Postgres(it) => sqlx::raw_sql(statement).execute(it).await.map(|_| ()),
            Self::Mysql(it) => sqlx::raw_sql(statement).execute(it).await.map(|_| ()),
        }
        .unwrap();
        Instant::now()
    }
}

/// Reloads the broker's configuration some times while one client pings without pause, and tells the longest time that
/// an answer took: before the reloads, and around them. Everybody is still there afterwards.
pub(crate) fn reloads(broker: &Broker, crowd: &mut Crowd, times: usize) -> (Duration, Duration) {
    let ping = |crowd: &mut Crowd| {
        let sent = Instant::now();
        crowd.send(0, &PINGREQ);
        crowd.listen(|index, heard, _| match heard {
            Heard::Packet(Packet::Pingresp) if index == 0 => ControlFlow::Break(()),
            other => panic!("client {index}: {other:?}"),
        });
        sent.elapsed()
    };
    let calm = (0..200).map(|_| ping(crowd)).max().unwrap_or_default();
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let before = broker.count_in_log("Reloading config");
        broker.hang_up();
        while broker.count_in_log("Reloading config") == before {
            longest = longest.max(ping(crowd));
        }
        for _ in 0..50 {
            longest = longest.max(ping(crowd));
        }
    }
    let mut silent: HashSet<usize> = (0..crowd.connected()).collect();
    for index in 0..crowd.connected() {
        crowd.send(index, &PINGREQ);
    }
    crowd.listen(|index, heard, _| {
        assert_eq!(heard, Heard::Packet(Packet::Pingresp), "client {index}");
        silent.remove(&index);
        if silent.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (calm, longest)
}

fn name(number: usize) -> String {
    format!("device-{number:04}")
}
