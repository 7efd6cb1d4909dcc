use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mosquitto_warden::database::Database;
use mosquitto_warden::store::device::{NewDevice, Status};
use mosquitto_warden::store::feed::{Feed, Update};
use mosquitto_warden::store::{OpenMode, Store};

use crate::databases::on_postgres;
use crate::servers::{OnServer, PgBouncer};
use crate::{Kind, run};

const DEVICES: usize = 40;
const WRITERS: usize = 4;

/// The database behind the pooler, as one that knows of it.
fn pooled(pooler: &PgBouncer) -> Database {
    Database::parse(&pooler.address(&[("sslmode", "disable"), ("statement-cache-capacity", "0")])).unwrap()
}

#[test]
fn through_a_pooler_whoever_writes_and_whoever_follows_share_a_few_connections() {
    on_postgres(async |fresh| {
        let pooler = PgBouncer::before(&fresh.address());
        let place = pooled(&pooler);
        let write = async |writer: usize| {
            let mut store = Store::open(&place, OpenMode::Write).await.unwrap();
            for number in (writer..DEVICES).step_by(WRITERS) {
                let name = format!("d{number}");
                store.add_device(&NewDevice { name: name.clone(), ..NewDevice::default() }, false).await.unwrap();
                assert!(store.set_status(&name, Status::Suspended, None).await.unwrap());
            }
            store.close().await.unwrap();
        };
        let follow = async || {
            let mut feed = Feed::open(&place).await.unwrap();
            let mut seen = BTreeSet::new();
            let deadline = Instant::now() + Duration::from_mins(1);
            while seen.len() < DEVICES {
                let devices: Vec<_> = match feed.update().await.unwrap() {
                    Update::Nothing => Vec::new(),
                    Update::Everything(all) => all.devices,
                    Update::Changes(changes) => {
                        changes.devices.into_iter().filter_map(|(_, device)| device.map(Arc::new)).collect()
                    }
                };
                seen.extend(devices.iter().map(|device| device.name.to_string()));
                assert!(Instant::now() < deadline, "only {seen:?}");
                feed.wait(Duration::from_millis(5)).await;
            }
        };
        tokio::join!(follow(), follow(), write(0), write(1), write(2), write(3));
        let others = "datname = current_database() AND pid <> pg_backend_pid()";
        let used = fresh.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE {others}")).unwrap();
        // The store that made the database has one of its own.
        assert_eq!(used, "3", "six of them had two connections");
    });
}

#[test]
fn an_address_that_does_not_say_that_it_is_a_poolers_is_refused_with_what_to_write() {
    on_postgres(async |fresh| {
        let silent = "ignore_startup_parameters = extra_float_digits, options";
        let poolers = [PgBouncer::with_option(&fresh.address(), silent), PgBouncer::before(&fresh.address())];
        for pooler in &poolers {
            let unaware = Database::parse(&pooler.address(&[("sslmode", "disable")])).unwrap();
            let (store, feed) = (Store::open(&unaware, OpenMode::Read).await, Feed::open(&unaware).await);
            for error in [store.unwrap_err(), feed.unwrap_err()] {
                assert!(error.to_string().contains("`statement-cache-capacity=0`"), "{error}");
            }
        }
        let [_, pooler] = poolers;
        // What is there already may be found through it; what is not, is made directly.
        let found = Store::create(&pooled(&pooler), None).await;
        assert!(!found.unwrap().1.new);
    });
    run(async {
        let empty = OnServer::new(Kind::Postgres);
        let pooler = PgBouncer::before(empty.address());
        let error = Store::create(&pooled(&pooler), None).await.unwrap_err();
        assert!(error.to_string().contains("`warden init` needs the address of the server itself"), "{error}");
    });
}
