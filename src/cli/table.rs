//! Aligned columns, and the forms of times and texts in them.

use std::io::{self, Write};

use prost_types::Timestamp;

/// Rows under a header. Columns are as wide as their widest cell, two spaces apart.
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, of as many cells as there are columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        debug_assert_eq!(N, self.header.len(), "a cell for each column");
        self.rows.push(cells.iter().map(|cell| printable(cell)).collect());
    }

    /// Whether there is nothing under the header.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the table.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let header: Vec<String> = self.header.iter().map(|&title| title.to_owned()).collect();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let widths: Vec<usize> = (0..header.len())
            .map(|column| lines().filter_map(|cells| cells.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        for cells in lines() {
            let mut line = String::new();
            for (cell, &column_width) in cells.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', column_width - width(cell) + 2));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Writes names and values, one a line, leaving out those without a value.
pub(crate) fn print_fields(fields: &[(&str, String)], out: &mut dyn Write) -> io::Result<()> {
    let present = || fields.iter().filter(|(_, value)| !value.is_empty());
    let names = present().map(|(name, _)| width(name)).max().unwrap_or(0);
    for (name, value) in present() {
        writeln!(out, "{name:names$}  {}", printable(value))?;
    }
    Ok(())
}

/// A time in UTC to the second, whatever the local zone; empty where there is none.
pub(crate) fn time(timestamp: Option<&Timestamp>) -> String {
    timestamp
        .and_then(|timestamp| jiff::Timestamp::from_second(timestamp.seconds).ok())
        .map(|time| time.to_string())
        .unwrap_or_default()
}

/// A text on one line, without the characters that would steer a terminal: others wrote it.
pub(crate) fn printable(text: &str) -> String {
    let visible = |character: char| match character {
        '\n' | '\r' | '\t' => ' ',
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    text.trim_end().chars().map(visible).collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "STATUS", "TITLE"]);
        table.row(["größer", "ACTIVE", ""]);
        table.row(["a", "DRAFT", "two\nlines\x1b[31m"]);
        let mut text = Vec::new();
        table.print(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME    STATUS  TITLE\ngrößer  ACTIVE\na       DRAFT   two lines�[31m\n"
        );
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let mut text = Vec::new();
        print_fields(&[("id", "1".into()), ("comment", String::new()), ("status", "ERROR".into())], &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "id      1\nstatus  ERROR\n");
    }

    #[test]
    fn times_are_utc_to_the_second() {
        let at = Timestamp { seconds: 1_795_341_600, nanos: 999_999_999 };
        assert_eq!(time(Some(&at)), "2026-11-22T10:00:00Z");
        assert_eq!(time(None), "");
    }
}
