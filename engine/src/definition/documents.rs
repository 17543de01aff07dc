//! Several definitions in one file.

/// A document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text.
    pub text: &'a str,
    /// The line of the file that its first line is, from 1. Complaints count lines from the beginning of the document.
    pub first_line: u64,
}

/// Splits a file into its documents, each of which is read by itself. A line that begins with `---` begins a document:
/// nothing else in YAML does so, not even in a text over several lines. Documents without content are left out.
pub fn documents(file: &str) -> Vec<Document<'_>> {
    let mut starts: Vec<(usize, u64)> = vec![(0, 1)];
    let mut offset = 0;
    for (line, text) in (1..).zip(file.split_inclusive('\n')) {
        let after = text.strip_prefix("---");
        if offset > 0 && after.is_some_and(|after| after.is_empty() || after.starts_with(char::is_whitespace)) {
            starts.push((offset, line));
        }
        offset += text.len();
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([file.len()]);
    let texts =
        starts.iter().zip(ends).map(|((start, line), end)| Document { text: &file[*start..end], first_line: *line });
    texts.filter(|document| has_content(document.text)).collect()
}

fn has_content(text: &str) -> bool {
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    lines.any(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        !(line.is_empty() || line.starts_with(['#', '%']) || line == "...")
    })
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn documents_begin_at_their_markers_and_know_their_lines() {
        let split = |file| documents(file).iter().map(|found| (found.first_line, found.text)).collect::<Vec<_>>();
        assert_eq!(split("a: 1\n"), [(1, "a: 1\n")]);
        assert_eq!(
            split("# two\n---\na: 1\n---\nb: |\n  --- no\n"),
            [(2, "---\na: 1\n"), (4, "---\nb: |\n  --- no\n")]
        );
        assert_eq!(split("a: 1\n---"), [(1, "a: 1\n")]);
        assert_eq!(split("--- {a: 1}\r\n---\r\n----: 2\r\n"), [(1, "--- {a: 1}\r\n"), (2, "---\r\n----: 2\r\n")]);
        assert_eq!(split("\n# nothing\n"), []);
    }
}
