//! A million devices: what they cost in memory and at the start, what a question costs among them, and what a change of
//! one row or of a hundred thousand costs, and whom it holds up. `WARDEN_BENCH_DEVICES` sets another number of them;
//! names of parts (`memory`, `check`, `bulk`, `own`, `rules`) narrow the choice.
#![allow(
    dead_code,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a bench that cannot measure has nothing else to say"
)]

mod stand;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mosquitto_warden::database::Database;
use mosquitto_warden::policy::decision::Action;
use mosquitto_warden::policy::device::{Device, DeviceStatus};
use mosquitto_warden::store::{OpenMode, Store};
use rustix::time::{ClockId, clock_gettime};

use stand::{Seat, Stand, Template, Visitor, name};

/// Rows of a bulk change.
const BULK: usize = 100_000;
const CHECKS: usize = 500_000;

/// The system's allocator, and what is asked of it.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How often this thread has allocated: the plugin's others do so beside it.
    static TIMES: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator cannot be counted otherwise")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TIMES.set(TIMES.get() + 1);
        let bytes = BYTES.fetch_add(taken(layout), Ordering::Relaxed) + taken(layout);
        MOST.fetch_max(bytes, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the C library takes for an allocation: a word more, in steps of sixteen bytes, and 32 at least.
fn taken(layout: Layout) -> usize {
    (layout.size() + 8).next_multiple_of(16).max(32)
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |part: &str| arguments.is_empty() || arguments.iter().any(|it| it == part);
    let devices = env::var("WARDEN_BENCH_DEVICES").map_or(1_000_000, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir().unwrap();
    if ["memory", "check", "bulk"].into_iter().any(chosen) {
        let begun = Instant::now();
        let stand = Stand::make(directory.path(), devices, 10);
        eprintln!("{devices} devices are in the database after {:.1?}", begun.elapsed());
        if chosen("memory") {
            memory(&stand, devices);
        }
        if chosen("check") || chosen("bulk") {
            let begun = Instant::now();
            let seat = stand.start();
            println!("the plugin starts in {:.2?}", begun.elapsed());
            let begun = Instant::now();
            let template = Template::new();
            let visitors: Vec<Visitor> = (0..devices).map(|number| seat.visitor(&template, number)).collect();
            println!(
                "{devices} devices come in: {:.1} µs each for handshake and login",
                begun.elapsed().as_secs_f64() * 1e6 / devices as f64
            );
            if chosen("check") {
                println!("| devices | rules in their role | access check, median ns | p99 | allocations |");
                println!("|---|---|---|---|---|");
                checks(&seat, &visitors, devices, 10);
            }
            if chosen("bulk") {
                bulk(&stand, &seat, &visitors);
            }
        }
    }
    if chosen("own") {
        let directory = tempfile::tempdir().unwrap();
        let devices = devices.min(100_000);
        let stand = Stand::make(directory.path(), devices, 10);
        stand.own_roles();
        println!("with five rules of its own each:");
        memory(&stand, devices);
        let begun = Instant::now();
        let seat = stand.start();
        println!("the plugin starts in {:.2?}", begun.elapsed());
        let template = Template::new();
        let visitors: Vec<Visitor> = (0..devices).map(|number| seat.visitor(&template, number)).collect();
        println!("| devices | rules in their roles | access check, median ns | p99 | allocations |");
        println!("|---|---|---|---|---|");
        checks(&seat, &visitors, devices, 15);
    }
    if chosen("rules") {
        println!("| devices | rules in their role | access check, median ns | p99 | allocations |");
        println!("|---|---|---|---|---|");
        for rules in [10, 100, 1_000, 10_000] {
            let directory = tempfile::tempdir().unwrap();
            let seat = Stand::make(directory.path(), 1_000, rules).start();
            let template = Template::new();
            let visitors: Vec<Visitor> = (0..1_000).map(|number| seat.visitor(&template, number)).collect();
            checks(&seat, &visitors, 1_000, rules);
        }
    }
}

/// The whole policy, read from the database, and changed.
fn memory(stand: &Stand, devices: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let database = Database::from(stand.database().as_path());
    let mut store = runtime.block_on(Store::open(&database, OpenMode::Read)).unwrap();
    let before = BYTES.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let begun = Instant::now();
    let (snapshot, _) = runtime.block_on(store.policy()).unwrap();
    let loaded = begun.elapsed();
    let (after, most) = (BYTES.load(Ordering::Relaxed), MOST.load(Ordering::Relaxed));
    assert_eq!(snapshot.device_count(), devices);
    // The name, and the common name in its certificate, which is the same.
    let strings = 2 * name(0).len();
    println!(
        "{devices} devices: read in {loaded:.2?}; {} bytes each, of which {strings} its strings; at most {} while reading",
        (after - before) / devices,
        (most - before) / devices
    );

    let changed = |id: usize, status| {
        let id = i64::try_from(id + 1).unwrap();
        (id, Some(Device { status, ..Device::clone(snapshot.device(id).unwrap()) }))
    };
    let mut times = Vec::new();
    let mut latest = snapshot.clone();
    for step in 0..10_000 {
        let change = changed((step * 7_919) % devices, DeviceStatus::Revoked);
        let begun = Instant::now();
        latest = latest.next(2, [change], []);
        times.push(begun.elapsed());
    }
    times.sort();
    println!("one row: {} µs median, {} µs p99", micros(median(&times)), micros(p99(&times)));
    drop(latest);

    let changes: Vec<_> = (0..BULK.min(devices)).map(|id| changed(id, DeviceStatus::Revoked)).collect();
    let before = BYTES.load(Ordering::Relaxed);
    let begun = Instant::now();
    let next = snapshot.next(2, changes, []);
    println!(
        "{} rows: {:.0?}, and {} bytes more for each device of the fleet while both are there",
        BULK.min(devices),
        begun.elapsed(),
        BYTES.load(Ordering::Relaxed).saturating_sub(before) / devices
    );
    drop(black_box(next));
}

/// Any device publishes to a topic of its own.
fn checks(seat: &Seat, visitors: &[Visitor], devices: usize, rules: usize) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let asked: Vec<(usize, String)> = (0..CHECKS)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = usize::try_from(random >> 33).unwrap() % visitors.len();
            (number, format!("site/dev/{}/up/{}", name(number), random % 1_000))
        })
        .collect();
    let mut times: Vec<Duration> = Vec::with_capacity(CHECKS);
    let clock = clock_cost();
    let before = TIMES.get();
    for (number, topic) in &asked {
        let begun = Instant::now();
        let allowed = seat.check(black_box(&visitors[*number]), Action::Publish, black_box(topic));
        times.push(begun.elapsed().saturating_sub(clock));
        assert!(allowed);
    }
    let allocations = TIMES.get() - before;
    times.sort();
    println!(
        "| {devices} | {rules} | {} | {} | {allocations} in {CHECKS} |",
        median(&times).as_nanos(),
        p99(&times).as_nanos()
    );
}

/// A hundred thousand devices that are here are suspended at once, while the others publish.
fn bulk(stand: &Stand, seat: &Seat, visitors: &[Visitor]) {
    let many = BULK.min(visitors.len() / 2);
    let last = visitors.len() - 1;
    let (first, other) = (format!("site/dev/{}/up", name(0)), format!("site/dev/{}/up", name(last)));
    let (mut longest_check, mut longest_tick) = (Longest::default(), Longest::default());
    let begun = Instant::now();
    let mut refused = None;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            stand.sql(&format!("UPDATE devices SET status = 'suspended' WHERE id <= {many}"));
            begun.elapsed()
        });
        // Some seconds more than it takes, so that all that follows from it is seen as well.
        while refused.is_none_or(|(_, then): (Duration, Instant)| then.elapsed() < Duration::from_secs(5)) {
            longest_check.of(|| assert!(seat.check(&visitors[last], Action::Publish, &other)));
            longest_tick.of(|| seat.tick());
            if refused.is_none() && !seat.check(&visitors[0], Action::Publish, &first) {
                refused = Some((begun.elapsed(), Instant::now()));
            }
        }
        let written = writer.join().unwrap();
        let (refused, _) = refused.unwrap();
        println!(
            "{many} devices that are here suspended in one statement: written after {written:.2?}, refused after {refused:.2?}"
        );
    });
    println!("longest access check: {longest_check}; longest tick: {longest_tick}");
}

/// The longest call: from begin to end, and how long it kept a processor busy.
#[derive(Default)]
struct Longest {
    time: Duration,
    work: Duration,
}

impl Longest {
    fn of(&mut self, call: impl FnOnce()) {
        let (begun, work) = (Instant::now(), processor());
        call();
        self.work = self.work.max(processor().saturating_sub(work));
        self.time = self.time.max(begun.elapsed());
    }
}

impl std::fmt::Display for Longest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} µs, {} µs of the processor's time", micros(self.time), micros(self.work))
    }
}

/// What this thread has kept a processor busy for.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// What it costs to look at the clock.
fn clock_cost() -> Duration {
    let mut times: Vec<Duration> = (0..10_000).map(|_| Instant::now()).map(|begun| begun.elapsed()).collect();
    times.sort();
    median(&times)
}

fn median(times: &[Duration]) -> Duration {
    times[times.len() / 2]
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}
