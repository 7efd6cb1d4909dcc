//! What was measured: printed as tables, and written into the document between its two marks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use super::control::{Control, Listener};
use super::harness::Mosquitto;
use super::machine::Machine;
use super::plots::Curve;

const BEGIN: &str = "<!-- Measured: written by the bench, never by hand. -->\n";
const END: &str = "<!-- The end of what was measured. -->\n";

/// So many a second, and the microseconds for which one of them kept the broker's processor busy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    rate: f64,
    cpu: f64,
}

impl Figure {
    pub(crate) fn new(count: usize, time: Duration, cpu: Duration) -> Self {
        let count = f64::from(u32::try_from(count).unwrap());
        Self { rate: count / time.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / count }
    }
}

/// What can be measured, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Start,
    Publish,
    Connect,
    Storm,
    HangUp,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Start, Self::Publish, Self::Connect, Self::Storm, Self::HangUp];

    /// The word by which it is chosen.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Publish => "publish",
            Self::Connect => "connect",
            Self::Storm => "storm",
            Self::HangUp => "sighup",
        }
    }
}

/// Where a row stands in its table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) mosquitto: String,
    /// The listener, or what else there are several of.
    pub(crate) what: (usize, &'static str),
    pub(crate) devices: usize,
    pub(crate) control: Control,
}

#[derive(Debug)]
pub(crate) struct Report {
    heads: BTreeMap<Part, (String, &'static [&'static str])>,
    rows: BTreeMap<Part, BTreeMap<Place, Vec<String>>>,
    curves: BTreeMap<(Part, Listener, String), BTreeMap<Control, Curve>>,
}

impl Report {
    /// With these headings and columns.
    pub(crate) fn new(heads: BTreeMap<Part, (String, &'static [&'static str])>) -> Self {
        Self { heads, rows: BTreeMap::new(), curves: BTreeMap::new() }
    }

    /// Adds a row, and says so: all of it takes long.
    pub(crate) fn row(&mut self, part: Part, place: Place, cells: Vec<String>) {
        let Place { mosquitto, what: (_, what), devices, control } = &place;
        eprintln!("{}: {mosquitto}, {what}, {devices} devices, {}: {}", part.word(), control.word(), cells.join(", "));
        self.rows.entry(part).or_default().insert(place, cells);
    }

    /// Adds a row of figures with their ratios to those of no access control, and a point of a plot.
    pub(crate) fn figures(
        &mut self,
        (part, listener): (Part, Listener),
        place: Place,
        figures: &[Figure],
        none: &[Figure],
    ) {
        let ratios =
            |of: fn(&Figure) -> f64| figures.iter().zip(none).map(|(one, other)| of(one) / of(other)).collect();
        let ratio = median(ratios(|figure| figure.rate));
        let cells = vec![
            format!("{:.0}", median(figures.iter().map(|figure| figure.rate).collect())),
            format!("{ratio:.2}"),
            format!("{:.1}", median(figures.iter().map(|figure| figure.cpu).collect())),
            format!("{:.2}", median(ratios(|figure| figure.cpu))),
        ];
        let curves = self.curves.entry((part, listener, place.mosquitto.clone())).or_default();
        curves.entry(place.control).or_default().push((place.devices, ratio));
        self.row(part, place, cells);
    }

    /// The tables, each below its heading.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        for (part, (heading, columns)) in &self.heads {
            let Some(rows) = self.rows.get(part) else { continue };
            writeln!(text, "**{}.** {heading}\n", part.word()).unwrap();
            let head = ["mosquitto", "", "devices", "access control"].iter().chain(*columns).copied();
            let head: Vec<&str> = head.collect();
            writeln!(text, "| {} |\n|{}", head.join(" | "), "---|".repeat(head.len())).unwrap();
            for (Place { mosquitto, what: (_, what), devices, control }, cells) in rows {
                let filled = cells.iter().map(String::as_str).chain(std::iter::repeat("")).take(columns.len());
                let cells: Vec<&str> = filled.collect();
                let cells = cells.join(" | ");
                writeln!(text, "| {mosquitto} | {what} | {devices} | {} | {cells} |", control.word()).unwrap();
            }
            text.push('\n');
        }
        text
    }

    /// Draws the plots of this Mosquitto, and says where they are, below docs/.
    pub(crate) fn plots(&self, mosquitto: &Mosquitto) -> Vec<(String, String)> {
        let directory = document().with_file_name("plots");
        fs::create_dir_all(&directory).unwrap();
        let of_it = self.curves.iter().filter(|((_, _, name), _)| *name == mosquitto.name);
        of_it
            .map(|((part, listener, name), curves)| {
                let file = format!("{}-{}.svg", part.word(), listener.word());
                let title =
                    format!("{}, {}: ratio to no access control, mosquitto {name}", part.word(), listener.word());
                super::plots::draw(&directory.join(&file), &title, curves);
                (title, format!("plots/{file}"))
            })
            .collect()
    }

    /// Puts it all into the document, in place of what was there.
    pub(crate) fn write(&self, machine: &Machine, plots: &[(String, String)]) {
        let text = fs::read_to_string(document()).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the document has the mark");
        let (_, after) = rest.split_once(END).expect("the document has both marks");
        let plots = plots.iter().fold(String::new(), |text, (title, file)| text + &format!("![{title}]({file})\n\n"));
        let measured = format!("\n{machine}\n\n{}{plots}", self.tables());
        fs::write(document(), format!("{before}{BEGIN}{measured}{END}{after}")).unwrap();
    }
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks.md")
}

pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
