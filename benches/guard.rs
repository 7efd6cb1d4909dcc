//! How many instructions the questions of the broker take, counted by callgrind and compared with `benches/guard.txt`.
//!
//! Times are noisy and counts are not: more than a tenth above what is written there is a failure (exit code 1). With
//! `record` behind it, what was counted is written there instead. Names of questions narrow the choice.
#![allow(
    dead_code,
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

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use mosquitto_warden::credential::password::{Cost, hash};
use mosquitto_warden::policy::decision::Action;

use stand::{Seat, Stand, Template, Visitor, name};

const DEVICES: usize = 1_000;
/// As many rules as a large role has, so that whatever looks at all of them is noticed.
const RULES: usize = 1_000;
/// How often each question is asked.
const TIMES: usize = 200;
/// How much more than what is written down is a failure, in percent.
const TOLERANCE: u64 = 10;

const PSK: &str = "psk-device";
const PASSWORD: &str = "password-device";

type Asking = fn(&Seat);

/// A question, and how it is asked so many times over. What comes before [`measured`] is not counted.
const QUESTIONS: [(&str, Asking); 8] = [
    ("acl_check publish", |seat| checks(seat, Action::Publish, ["site/dev/{}/up/time", "site/dev/{}/up/temperature"])),
    ("acl_check publish again", |seat| {
        // Answers that are remembered may take each other's place, and which do is another lot in each process.
        let template = Template::new();
        let topic = format!("site/dev/{}/up/temperature", name(0));
        let visitor = seat.visitor(&template, 0);
        let ask = || assert!(seat.check(black_box(&visitor), Action::Publish, black_box(&topic)));
        ask();
        measured(|| (0..TIMES).for_each(|_| ask()));
    }),
    ("acl_check receive", |seat| checks(seat, Action::Receive, ["site/cmd/{}/stop", "site/cmd/{}/reboot"])),
    ("acl_check subscribe", |seat| checks(seat, Action::Subscribe, ["site/cmd/{}/stop", "site/cmd/{}/+"])),
    ("handshake", |seat| {
        let template = Template::new();
        let certificates: Vec<_> = (0..TIMES).map(|number| template.named(&name(number))).collect();
        measured(|| certificates.iter().for_each(|certificate| seat.handshake(black_box(certificate))));
    }),
    ("basic_auth certificate", |seat| {
        let template = Template::new();
        let certificates = (0..TIMES).map(|number| template.named(&name(number)));
        let mut visitors: Vec<_> = certificates
            .inspect(|certificate| seat.handshake(certificate))
            .enumerate()
            .map(|(number, certificate)| Visitor::new(&name(number), None, Some(certificate)))
            .collect();
        measured(|| visitors.iter_mut().for_each(|visitor| seat.login(black_box(visitor), None)));
    }),
    ("basic_auth known password", |seat| {
        let login = || seat.login(&mut Visitor::new(PASSWORD, Some(PASSWORD), None), Some(b"a password"));
        login();
        measured(|| (0..TIMES).for_each(|_| login()));
    }),
    ("psk_key", |seat| {
        let visitors: Vec<_> = (0..TIMES).map(|_| Visitor::new(PSK, None, None)).collect();
        measured(|| visitors.iter().for_each(|visitor| seat.psk_key(black_box(visitor), PSK)));
    }),
];

/// Devices ask about the first topic and then, which is measured, about the second: the first question of a session costs
/// more than the many that follow.
fn checks(seat: &Seat, action: Action, topics: [&str; 2]) {
    let template = Template::new();
    let visitors: Vec<Visitor> = (0..TIMES).map(|number| seat.visitor(&template, number)).collect();
    let [first, second] =
        topics.map(|topic| (0..TIMES).map(|number| topic.replace("{}", &name(number))).collect::<Vec<_>>());
    let ask = |topics: &[String]| {
        for (visitor, topic) in visitors.iter().zip(topics) {
            assert!(seat.check(black_box(visitor), action, black_box(topic)));
        }
    };
    ask(&first);
    measured(|| ask(&second));
}

/// What runs in here is counted.
#[inline(never)]
fn measured(run: impl FnOnce()) {
    counted(&mut Some(run));
}

/// One function for all, with a name that callgrind finds.
#[inline(never)]
fn counted(run: &mut dyn Run) {
    run.run();
}

trait Run {
    fn run(&mut self);
}

impl<F: FnOnce()> Run for Option<F> {
    fn run(&mut self) {
        self.take().expect("it is run once")();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let [ask, directory, question] = arguments.as_slice()
        && ask == "ask"
    {
        let (_, question) = QUESTIONS.iter().find(|(name, _)| name == question).expect("a question");
        question(&Stand::at(Path::new(directory)).start());
        return ExitCode::SUCCESS;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/guard.txt");
    let written = fs::read_to_string(&file).unwrap_or_default();
    let recorded: BTreeMap<&str, u64> = written
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, count)| (name.trim_end(), count.parse().expect("a count")))
        .collect();

    let directory = tempfile::tempdir().unwrap();
    let stand = Stand::make(directory.path(), DEVICES, RULES);
    stand.psk_device(PSK);
    stand.password_device(PASSWORD, &hash(b"a password", Cost::default()).unwrap());

    let mut record = String::from(
        "# Instructions that callgrind counts for each question, and beyond which plus a tenth `make guard` fails.\n\
         # Written by `cargo bench --bench guard -- record`.\n",
    );
    let mut failed = false;
    println!("{:<28}{:>12}{:>12}", "instructions", "recorded", "now");
    let chosen = |name: &str| {
        QUESTIONS.iter().all(|(any, _)| !arguments.iter().any(|it| it == any)) || arguments.iter().any(|it| it == name)
    };
    for (name, _) in QUESTIONS.iter().filter(|(name, _)| chosen(name)) {
        let now = count(directory.path(), name);
        writeln!(record, "{name} {now}").unwrap();
        let before = recorded.get(name).copied();
        let verdict = match before {
            None => "  not recorded",
            Some(before) if now * 100 > before * (100 + TOLERANCE) => "  TOO MANY",
            // What became cheaper has to stay so.
            Some(before) if now * (100 + TOLERANCE) < before * 100 => "  fewer: record it",
            Some(_) => "",
        };
        failed |= matches!(verdict, "  not recorded" | "  TOO MANY");
        println!("{name:<28}{:>12}{now:>12}{verdict}", before.map_or("-".to_owned(), |before| before.to_string()));
    }
    if arguments.iter().any(|argument| argument == "record") {
        fs::write(&file, record).unwrap();
        return ExitCode::SUCCESS;
    }
    ExitCode::from(u8::from(failed))
}

/// Asks under callgrind, in a process of its own; the instructions for one question.
fn count(directory: &Path, question: &str) -> u64 {
    let file = directory.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*guard*counted*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe().unwrap())
        .args(["ask", directory.to_str().unwrap(), question])
        .output()
        .expect("valgrind is missing: apt install valgrind");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{question}: {said}");
    let text = fs::read_to_string(&file).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    let total: u64 = total.and_then(|total| total.trim().parse().ok()).unwrap_or_else(|| panic!("{question}: {said}"));
    assert!(total > 0, "{question}: callgrind has not found what to count");
    total / u64::try_from(TIMES).unwrap()
}
