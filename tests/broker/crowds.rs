use crate::harness::{bulk_revocation, crowd, crowds, on_every_broker, reloads, revocations};
use crate::servers::Kind;

const CROWD: usize = 1_000;
const REVOKED: usize = 200;

#[test]
fn two_hundred_revocations_each_end_one_session_of_a_thousand() {
    on_every_broker(|mosquitto| {
        let (fleet, _broker, crowd) = crowd(mosquitto, "certificates.conf", CROWD, Kind::Sqlite);
        let mut crowds = [crowd];
        let times = revocations(&fleet, &mut crowds, (0..CROWD).step_by(CROWD / REVOKED));
        assert_eq!((times.len(), crowds[0].connected()), (REVOKED, CROWD - REVOKED));
    });
}

#[test]
fn half_a_crowd_is_revoked_in_one_statement_and_the_others_stay() {
    on_every_broker(|mosquitto| {
        let (fleet, _broker, mut crowd) = crowd(mosquitto, "certificates.conf", CROWD, Kind::Sqlite);
        let bulk = bulk_revocation(&fleet, &mut crowd, CROWD / 2);
        assert!(bulk.first <= bulk.last && !bulk.ping.is_zero(), "{bulk:?}");
        assert_eq!(crowd.connected(), CROWD / 2);
    });
}

#[test]
fn a_revocation_ends_the_sessions_at_two_brokers_and_nobody_elses() {
    on_every_broker(|mosquitto| {
        let (fleet, _brokers, mut crowds) = crowds(&[mosquitto; 2], "certificates.conf", 20, Kind::Postgres);
        let times = revocations(&fleet, &mut crowds, (0..20).step_by(4));
        assert_eq!(times.len(), 5);
        assert!(crowds.iter().all(|crowd| crowd.connected() == 15));
    });
}

#[test]
fn reloads_with_a_thousand_clients_drop_nobody() {
    on_every_broker(|mosquitto| {
        // With the second, the broker asks the plugin about each of them once more.
        for example in ["certificates.conf", "certificates-named-by-warden.conf"] {
            let (_fleet, broker, mut crowd) = crowd(mosquitto, example, CROWD, Kind::Sqlite);
            reloads(&broker, &mut crowd, 3);
            assert_eq!(crowd.connected(), CROWD);
            assert_eq!(broker.count_in_log("warden: refused"), 0);
        }
    });
}
