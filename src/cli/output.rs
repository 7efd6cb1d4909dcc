//! What the command says: data to standard output, as text or as JSON, and talk to standard error.

use std::io::{self, IsTerminal, StdoutLock, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

/// Where results go.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    stdout: StdoutLock<'static>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, stdout: io::stdout().lock() }
    }

    /// Whether results are wanted as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A result as JSON.
    pub(super) fn json(&mut self, value: &Value) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut self.stdout, value).map_err(io::Error::from)?;
        self.stdout.write_all(b"\n")?;
        Ok(())
    }

    /// A line of a result.
    pub(super) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.stdout, "{}", printable(text))?;
        Ok(())
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stdout.write_all(bytes)?;
        Ok(())
    }

    /// Names and values, one pair a line.
    pub(super) fn pairs(&mut self, pairs: &[(&str, String)]) -> anyhow::Result<()> {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in pairs {
            self.line(format!("{name:width$}  {value}").trim_end())?;
        }
        Ok(())
    }

    /// A table. In a pipe its columns are as wide as they are, so that no line is broken in two.
    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(header);
        if self.stdout.is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty();
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        for line in table.lines() {
            // The preset leaves a space for the border that it does not draw.
            writeln!(self.stdout, "{}", line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        Ok(())
    }

    /// Brings what was said before the eyes of whoever is asked next.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.stdout.flush()?)
    }

    /// Talk.
    pub(super) fn note(&mut self, text: &str) -> anyhow::Result<()> {
        self.stdout.flush()?;
        writeln!(io::stderr().lock(), "{}", printable(text))?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        Ok(self.stdout.flush()?)
    }
}

/// The text without what could move the cursor or recolour a terminal: identities and topics may hold such characters.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && char != '\n' { safe.extend(char.escape_default()) } else { safe.push(char) }
    }
    safe
}

/// A word as a shell takes it.
pub(super) fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A value, or a dash for none.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), str::to_owned)
}
