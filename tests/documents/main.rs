//! What the documents say is true: what they say to type works, what they name exists, and the modules know only of
//! those that the architecture lets them know of.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a panic is how one says that something does not hold"
)]

/// Who may know of whom.
mod arrows;
/// docker-compose.yml and the Dockerfile: nothing more than is needed, and nothing secret.
mod compose;
/// Files, options, targets and commands that the documents name.
mod names;
/// The sections of the README that can be typed into a shell.
mod tutorial;

use std::fs;
use std::path::{Path, PathBuf};

/// Every document.
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/decisions.md",
    "docs/faults.md",
    "docs/benchmarks.md",
];

/// A path in the repository.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(here(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fenced block: the word behind the fence, and what it holds.
struct Block {
    language: String,
    text: String,
}

/// The fenced blocks of a document, and what is left without them.
fn blocks(document: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose, mut inside) = (Vec::new(), String::new(), false);
    for line in document.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside;
            if inside {
                blocks.push(Block { language: language.to_owned(), text: String::new() });
            }
            continue;
        }
        let text = if inside { &mut blocks.last_mut().unwrap().text } else { &mut prose };
        text.push_str(line);
        text.push('\n');
    }
    (blocks, prose)
}

/// What a document has as code: its `spans`, and the lines of its blocks that can be typed.
fn code(document: &str) -> Vec<String> {
    let (blocks, prose) = blocks(document);
    let spans = prose.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    let typed = blocks.iter().filter(|block| block.language == "sh" || block.language == "console");
    let lines = typed.flat_map(|block| block.text.lines()).map(|line| line.trim_start_matches("$ ").to_owned());
    spans.chain(lines).collect()
}
