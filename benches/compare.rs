//! Whole brokers with one access control or another on the same fleet: messages, connections, storms of devices that come
//! at once, SIGHUP, each beside a broker without any access control. docs/benchmarks.md says how each figure is taken.
//!
//! Words narrow the choice: parts (`start`, `publish`, `connect`, `storm`, `sighup`), numbers of devices (`10`, `1000`, any),
//! listeners (`plain`, `certificates`, `psk`), access controls (`sections`, `patterns`, `dynamic-security`, `warden`);
//! `WARDEN_TEST_BROKERS` narrows the brokers. `sessions=10000` is for SIGHUP; `document` measures all numbers and writes
//! tables and plots into docs/, `plots` the plots alone.
#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "it stands on the harness of the tests, and uses a part of it"
)]

#[path = "compare/choice.rs"]
mod choice;
#[path = "compare/connect.rs"]
mod connect;
#[path = "compare/control.rs"]
mod control;
#[path = "compare/hang_up.rs"]
mod hang_up;
#[path = "../tests/broker/harness/mod.rs"]
mod harness;
#[path = "compare/machine.rs"]
mod machine;
#[path = "compare/plots.rs"]
mod plots;
#[path = "compare/population.rs"]
mod population;
#[path = "compare/publish.rs"]
mod publish;
#[path = "compare/report.rs"]
mod report;
mod returning;
#[path = "../tests/servers/mod.rs"]
mod servers;
#[path = "compare/storm.rs"]
mod storm;

use std::collections::BTreeMap;
use std::time::Duration;

use choice::Choice;
use connect::{CLIENTS, Doors, TURNS_OF_PLAIN};
use control::{Control, Listener, Running};
use hang_up::RELOADS;
use harness::Mosquitto;
use harness::brokers::installed;
use machine::Machine;
use population::{Population, WATCHERS};
use publish::{DELIVERIES, Hall};
use report::{Figure, Part, Place, Report, median, milliseconds};
use storm::{AT_ONCE, DEVICES, Storm, Times, Way};

/// Each round has all of the controls in turn.
const ROUNDS: usize = 5;
const STORMS: usize = 7;
/// What starts later than this is not told to reload: it would read its files again while everybody waits.
const SLOW: Duration = Duration::from_secs(5);

fn main() {
    let choice = Choice::new(std::env::args().skip(1));
    let (mut machine, mut report) = (Machine::new(), Report::new(headings(choice.sessions)));
    let brokers = installed();
    for devices in choice.sizes.iter().copied() {
        let population = Population::new(devices);
        for mosquitto in &brokers {
            // Some Mosquittos with a list of keys speak TLS 1.2 to everybody, which is other work.
            let (with_keys, others) = choice.listeners.iter().partition(|listener| **listener == Listener::Psk);
            let groups: [Vec<Listener>; 2] = [others, with_keys];
            for (number, listeners) in groups.into_iter().filter(|listeners| !listeners.is_empty()).enumerate() {
                let mut comparison =
                    Comparison::start(&choice, listeners, &population, mosquitto, &mut machine, &mut report);
                if number == 0 {
                    comparison.starts();
                }
                comparison.all();
            }
        }
    }
    println!("{machine}\n\n{}", report.tables());
    let plots = if choice.plots { report.plots(&brokers[brokers.len() - 1]) } else { Vec::new() };
    if choice.document {
        report.write(&machine, &plots);
    }
}

fn headings(sessions: usize) -> BTreeMap<Part, (String, &'static [&'static str])> {
    const RATE: &[&str] = &["a second", "to none", "CPU, µs", "to none"];
    let texts = [
        (Part::Start, "From start to the log's `running`, in seconds.".to_owned(), &["time"][..]),
        (
            Part::Publish,
            format!(
                "Deliveries, {WATCHERS} of each message, QoS 0; median of {ROUNDS} alternating rounds of {DELIVERIES}; \
                 CPU time of the broker for one."
            ),
            RATE,
        ),
        (
            Part::Connect,
            format!(
                "Connections (TLS handshake, CONNECT, CONNACK, DISCONNECT), one after the other; median of {ROUNDS} \
                 alternating rounds of {CLIENTS}, plain {TURNS_OF_PLAIN} times as many; CPU time of the broker for one."
            ),
            RATE,
        ),
        (
            Part::Storm,
            format!(
                "{DEVICES} devices that come at once, {AT_ONCE} of them waiting for the broker at any time: until all are \
                 in, and the longest ping of one that was there, in milliseconds; median of {STORMS} alternating rounds."
            ),
            &["all are in", "to none", "longest ping"],
        ),
        (
            Part::HangUp,
            format!(
                "The longest ping of one of {sessions} sessions: calm, and around {RELOADS} SIGHUP, in milliseconds."
            ),
            &["calm", "SIGHUP"],
        ),
    ];
    texts.into_iter().map(|(part, text, columns)| (part, (text, columns))).collect()
}

/// Brokers of one Mosquitto that run side by side on one fleet. The first has no access control.
struct Comparison<'a> {
    choice: &'a Choice,
    listeners: Vec<Listener>,
    population: &'a Population,
    mosquitto: &'a Mosquitto,
    running: Vec<Running>,
    failed: Vec<(Control, String)>,
    report: &'a mut Report,
}

impl<'a> Comparison<'a> {
    fn start(
        choice: &'a Choice,
        listeners: Vec<Listener>,
        population: &'a Population,
        mosquitto: &'a Mosquitto,
        machine: &mut Machine,
        report: &'a mut Report,
    ) -> Self {
        let (mut running, mut failed) = (Vec::new(), Vec::new());
        for control in [Control::None].iter().chain(&choice.controls).copied() {
            match Running::start(control, &listeners, population, mosquitto) {
                Ok(broker) => running.push(broker),
                Err(why) => failed.push((control, why)),
            }
        }
        machine.saw(mosquitto, &running[0].broker);
        Self { choice, listeners, population, mosquitto, running, failed, report }
    }

    fn starts(&mut self) {
        if self.choice.has(Part::Start) {
            for running in &self.running {
                let seconds = format!("{:.2}", running.started.as_secs_f64());
                self.report.row(Part::Start, self.place((0, ""), running.control), vec![seconds]);
            }
            self.tell_failures(Part::Start, (0, ""));
        }
    }

    fn all(mut self) {
        for listener in self.listeners.clone() {
            if self.choice.has(Part::Publish) {
                self.publish(listener);
            }
            if self.choice.has(Part::Connect) {
                self.connect(listener);
            }
        }
        // These take long, and say most where there are most devices.
        let is_largest = self.choice.sizes.last() == Some(&self.population.devices);
        if self.choice.has(Part::Storm) && is_largest {
            self.storm();
        }
        if self.choice.has(Part::HangUp) && (is_largest || self.population.devices >= 10_000) {
            // Sessions with pre-shared keys are judged as those with certificates.
            for listener in self.listeners.clone().into_iter().filter(|listener| *listener != Listener::Psk) {
                self.hang_up(listener);
            }
        }
    }

    fn publish(&mut self, listener: Listener) {
        let halls = self.running.iter().map(|running| Hall::new(running, self.population, listener));
        let mut halls: Vec<Hall> = halls.collect();
        let figures = alternate(halls.len(), ROUNDS, |which| halls[which].round());
        drop(halls);
        self.figures(Part::Publish, listener, &figures);
    }

    fn connect(&mut self, listener: Listener) {
        let doors = Doors::new(self.population, listener);
        if listener == Listener::Plain {
            for running in &self.running {
                doors.introduce(running);
            }
        }
        let figures = alternate(self.running.len(), ROUNDS, |which| doors.round(&self.running[which]));
        self.figures(Part::Connect, listener, &figures);
    }

    fn figures(&mut self, part: Part, listener: Listener, figures: &[Vec<Figure>]) {
        let what = (listener as usize, listener.word());
        for (running, of_it) in self.running.iter().zip(figures) {
            self.report.figures((part, listener), self.place(what, running.control), of_it, &figures[0]);
        }
        self.tell_failures(part, what);
    }

    fn storm(&mut self) {
        let mut storms: Vec<Storm> = self.running.iter().map(|running| Storm::new(running, self.population)).collect();
        // Those who resume remember how they came the time before, with certificates.
        let ways = Way::ALL.into_iter().filter(|way| self.listeners.contains(&way.listener()));
        let all: Vec<(Way, Vec<Vec<Times>>)> =
            ways.map(|way| (way, alternate(storms.len(), STORMS, |which| storms[which].round(way)))).collect();
        drop(storms);
        for (way, times) in all {
            let what = (way as usize, way.word());
            for (running, of_it) in self.running.iter().zip(&times) {
                let ratio = |(one, none): (&Times, &Times)| one.all.as_secs_f64() / none.all.as_secs_f64();
                let cells = vec![
                    format!("{:.0}", median(of_it.iter().map(|times| milliseconds(times.all)).collect())),
                    format!("{:.2}", median(of_it.iter().zip(&times[0]).map(ratio).collect())),
                    format!("{:.1}", median(of_it.iter().map(|times| milliseconds(times.ping)).collect())),
                ];
                self.report.row(Part::Storm, self.place(what, running.control), cells);
            }
            self.tell_failures(Part::Storm, what);
        }
    }

    fn hang_up(&mut self, listener: Listener) {
        let what = (listener as usize, listener.word());
        for running in &self.running {
            let cells = if running.started > SLOW {
                vec![format!("not tried: starts in {:.0} s", running.started.as_secs_f64())]
            } else {
                let times = hang_up::longest_pings(running, self.population, listener, self.choice.sessions);
                [times.0, times.1].map(|time| format!("{:.1}", milliseconds(time))).to_vec()
            };
            self.report.row(Part::HangUp, self.place(what, running.control), cells);
        }
        self.tell_failures(Part::HangUp, what);
    }

    fn tell_failures(&mut self, part: Part, what: (usize, &'static str)) {
        for (control, why) in &self.failed {
            self.report.row(part, self.place(what, *control), vec![why.clone()]);
        }
    }

    fn place(&self, what: (usize, &'static str), control: Control) -> Place {
        Place { mosquitto: self.mosquitto.name.clone(), what, devices: self.population.devices, control }
    }
}

/// Asks each contestant in turn, so many times after one that is not counted; who is first changes from round to round.
fn alternate<T>(contestants: usize, rounds: usize, mut ask: impl FnMut(usize) -> T) -> Vec<Vec<T>> {
    let mut all: Vec<Vec<T>> = (0..contestants).map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for which in (0..contestants).map(|number| (number + round) % contestants) {
            let one = ask(which);
            if round > 0 {
                all[which].push(one);
            }
        }
    }
    all
}
