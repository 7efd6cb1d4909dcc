//! What the gates cost that a connection passes, in fleets of different sizes: with criterion, the plugin without C.
#![allow(
    dead_code,
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a bench that cannot measure has nothing else to say"
)]

mod stand;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mosquitto_warden::credential::password::{Cost, hash};

use stand::{Stand, Template, Visitor, name};

/// So many devices come in turn, spread evenly over the fleet.
const COMING: usize = 1_000;
const PASSWORD: &str = "password-device";
const PSK: &str = "psk-device";

fn gates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gates");
    for devices in [COMING, 100 * COMING] {
        let directory = tempfile::tempdir().unwrap();
        let stand = Stand::make(directory.path(), devices, 10);
        stand.psk_device(PSK);
        stand.password_device(PASSWORD, &hash(b"a password", Cost::default()).unwrap());
        let seat = stand.start();
        let template = Template::new();
        let names: Vec<String> = (0..COMING).map(|number| name(number * (devices / COMING))).collect();
        let certificates: Vec<Vec<u8>> = names.iter().map(|name| template.named(name)).collect();
        let mut next = certificates.iter().cycle();
        group.bench_function(BenchmarkId::new("handshake", devices), |bencher| {
            bencher.iter(|| seat.handshake(black_box(next.next().unwrap())));
        });
        let mut next = names.iter().zip(&certificates).cycle();
        group.bench_function(BenchmarkId::new("basic_auth-certificate", devices), |bencher| {
            bencher.iter(|| {
                let (name, certificate) = next.next().unwrap();
                seat.login(&mut Visitor::new(name, None, Some(certificate.clone())), None);
            });
        });
        group.bench_function(BenchmarkId::new("basic_auth-known-password", devices), |bencher| {
            bencher.iter(|| seat.login(&mut Visitor::new(PASSWORD, Some(PASSWORD), None), Some(b"a password")));
        });
        group.bench_function(BenchmarkId::new("psk_key", devices), |bencher| {
            let visitor = Visitor::new(PSK, None, None);
            bencher.iter(|| seat.psk_key(black_box(&visitor), PSK));
        });
    }
    group.finish();
}

criterion_group!(benches, gates);
criterion_main!(benches);
