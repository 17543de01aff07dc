//! Definition files: which there are, the documents in each, and where each document begins.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::cli::Failure;

/// The bound of one file: some hundred definitions at the server's 256 KiB would be more, but no folder holds such.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How deep folders are searched: a link that leads back up must not keep us for ever.
const FOLDER_DEPTH_MAX: usize = 16;

/// What a document defines, in the order in which documents must be stored: a process names flows and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Directory,
    Flow,
    Calendar,
    ApprovalProcess,
}

/// One document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) file: String,
    /// The line of the file on which the text begins, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// What it says its name is; a Directory has none.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Document {
    /// The text behind as many blank lines as stand before it, so that whoever counts its lines counts those of the file.
    pub(crate) fn padded(&self) -> String {
        pad(self.line, &self.text)
    }

    /// Something said of this document; line 0 is the document as a whole.
    pub(crate) fn remark(&self, line: usize, column: usize, message: impl Into<String>) -> Remark {
        let (line, column) = if line == 0 { (self.line, 1) } else { (line, column) };
        Remark { file: self.file.clone(), line, column, message: message.into() }
    }
}

/// Something said of a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// What was found in the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) documents: Vec<Document>,
    /// What is wrong with those that cannot be told.
    pub(crate) complaints: Vec<Remark>,
    /// Files of others, found in a folder.
    pub(crate) skipped: Vec<String>,
}

/// Reads the documents of files and folders (`-` is standard input), sorted by the order in which they must be stored.
pub(crate) fn read_documents(paths: &[PathBuf]) -> Result<Found, Failure> {
    let mut found = Found::default();
    for path in paths {
        let unreadable = |error: io::Error| Failure::Usage(format!("{}: {error}", path.display()));
        if path.as_os_str() == "-" {
            let text = read_bounded(io::stdin().lock()).map_err(unreadable)?;
            read_text("<stdin>", &text, false, &mut found);
        } else if path.is_dir() {
            let mut files = Vec::new();
            collect_files(path, FOLDER_DEPTH_MAX, &mut files).map_err(unreadable)?;
            for file in files {
                read_file(&file, true, &mut found)?;
            }
        } else {
            read_file(path, false, &mut found)?;
        }
    }
    found.documents.sort_by_key(|document| document.kind);
    Ok(found)
}

fn read_file(path: &Path, in_folder: bool, found: &mut Found) -> Result<(), Failure> {
    let name = path.display().to_string();
    let text =
        fs::File::open(path).and_then(read_bounded).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    read_text(&name, &text, in_folder, found);
    Ok(())
}

fn read_bounded(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("more than {} MiB", FILE_BYTES_MAX / 1024 / 1024)));
    }
    Ok(text)
}

/// Collects the YAML and JSON files below a folder in the order of their names; hidden ones are not ours.
fn collect_files(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                collect_files(&path, depth - 1, files)?;
            }
        } else if path.extension().is_some_and(|kind| ["yaml", "yml", "json"].iter().any(|ours| kind == *ours)) {
            files.push(path);
        }
    }
    Ok(())
}

/// The fields that tell what a document is.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    kind: Option<String>,
    name: Option<String>,
}

fn read_text(file: &str, text: &str, in_folder: bool, found: &mut Found) {
    for (line, text) in split(text) {
        let remark = |line, column, message| Remark { file: file.to_owned(), line, column, message };
        let head = match serde_saphyr::from_str::<Head>(&pad(line, &text)) {
            Ok(head) => head,
            Err(error) => {
                let at = error.location().map_or((line, 1), |at| (number(at.line()), number(at.column())));
                let message = error.without_snippet().to_string();
                // The library's message ends with the place, which our own line begins with.
                let message = message.split(" at line ").next().unwrap_or_default().to_owned();
                found.complaints.push(remark(at.0.max(1), at.1.max(1), message));
                continue;
            }
        };
        if in_folder && head.api_version.is_none() && head.kind.is_none() {
            found.skipped.push(file.to_owned());
            continue;
        }
        let kind = match head.kind.as_deref() {
            Some("ApprovalProcess") => Kind::ApprovalProcess,
            Some("Flow") => Kind::Flow,
            Some("Calendar") => Kind::Calendar,
            Some("Directory") => Kind::Directory,
            Some(other) => {
                let message =
                    format!("kind {other} is unknown; it is one of ApprovalProcess, Flow, Calendar, Directory");
                found.complaints.push(remark(line, 1, message));
                continue;
            }
            None => {
                let message = "kind is missing; it is one of ApprovalProcess, Flow, Calendar, Directory".to_owned();
                found.complaints.push(remark(line, 1, message));
                continue;
            }
        };
        let name = head.name.unwrap_or_default();
        found.documents.push(Document { file: file.to_owned(), line, kind, name, text });
    }
}

fn number(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn pad(line: usize, text: &str) -> String {
    "\n".repeat(line - 1) + text
}

/// Splits a YAML stream (JSON is one with one document) at its markers, which stand at the beginning of a line and
/// cannot stand there within any scalar. Gives each document with its first line's number, from 1, and without blank
/// lines around it: where it moves within its file it remains the same text.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = Vec::new();
    let mut current: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let marker = |marker: &str| {
            line.strip_prefix(marker).filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        };
        if let Some(rest) = marker("---") {
            finish(&mut current, &mut documents);
            if !rest.trim().is_empty() {
                // What stands behind the marker keeps its column.
                current.push((index + 1, format!("   {rest}")));
            }
        } else if marker("...").is_some() {
            finish(&mut current, &mut documents);
        } else {
            current.push((index + 1, line.to_owned()));
        }
    }
    finish(&mut current, &mut documents);
    documents
}

fn finish(lines: &mut Vec<(usize, String)>, documents: &mut Vec<(usize, String)>) {
    let lines = std::mem::take(lines);
    let has_content = lines.iter().any(|(_, line)| {
        let line = line.trim_start();
        !(line.is_empty() || line.starts_with('#') || line.starts_with('%'))
    });
    let Some(first) = lines.iter().position(|(_, line)| !line.trim().is_empty()).filter(|_| has_content) else {
        return;
    };
    let last = lines.iter().rposition(|(_, line)| !line.trim().is_empty()).unwrap_or(first);
    let mut text = String::new();
    for (_, line) in &lines[first..=last] {
        text.push_str(line);
        text.push('\n');
    }
    documents.push((lines[first].0, text));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Found {
        let mut found = Found::default();
        read_text("a.yaml", text, false, &mut found);
        found
    }

    #[test]
    fn documents_keep_the_line_numbers_of_their_file() {
        let text = "# people\n---\nkind: Directory\n\n---\n# a flow\n\nkind: Flow\nname: book\ncode: {}\n...\n\n--- {kind: \
                    ApprovalProcess, name: order}\n---\n\n";
        let found = read(text);
        let documents: Vec<_> =
            found.documents.iter().map(|document| (document.line, document.kind, document.name.as_str())).collect();
        let expected = [(3, Kind::Directory, ""), (6, Kind::Flow, "book"), (13, Kind::ApprovalProcess, "order")];
        assert_eq!(documents, expected);
        assert_eq!(found.documents[1].text, "# a flow\n\nkind: Flow\nname: book\ncode: {}\n");
        for document in &found.documents {
            let line = document.padded().lines().position(|line| line.contains("kind:")).unwrap();
            assert!(text.lines().nth(line).unwrap().contains("kind:"), "{document:?}");
        }
    }

    #[test]
    fn a_document_that_moves_in_its_file_is_the_same_text() {
        let alone = read("kind: Flow\nname: book\n");
        let moved = read("---\nkind: Directory\n---\n\n\nkind: Flow\nname: book\n\n\n");
        assert_eq!(alone.documents[0].text, moved.documents[1].text);
    }

    #[test]
    fn a_marker_within_an_indented_scalar_is_text() {
        let found = read("kind: Flow\nname: book\ntitle: |\n  ---\n  more\n");
        assert_eq!((found.documents.len(), found.complaints.len()), (1, 0), "{found:?}");
        assert!(found.documents[0].text.contains("  ---\n  more"));
    }

    #[test]
    fn json_is_a_document_too() {
        let found = read("{\n  \"kind\": \"Flow\", \"name\": \"book\", \"code\": {}\n}\n");
        assert_eq!((found.documents[0].line, found.documents[0].name.as_str()), (1, "book"));
    }

    #[test]
    fn what_cannot_be_told_is_complained_of_at_its_place() {
        let found = read("kind: Flow\nname: book\n---\nkind: Flaw\n---\nname: x\n---\nkind: [Flow\nname: y\n");
        let complaints: Vec<_> = found.complaints.iter().map(ToString::to_string).collect();
        assert_eq!(
            complaints[0],
            "a.yaml:4:1: kind Flaw is unknown; it is one of ApprovalProcess, Flow, Calendar, Directory"
        );
        assert_eq!(
            complaints[1],
            "a.yaml:6:1: kind is missing; it is one of ApprovalProcess, Flow, Calendar, Directory"
        );
        assert!(complaints[2].starts_with("a.yaml:8:") || complaints[2].starts_with("a.yaml:9:"), "{complaints:?}");
        assert_eq!(complaints.len(), 3);
    }

    #[test]
    fn folders_are_searched_and_files_of_others_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("process.yaml", "kind: ApprovalProcess\nname: order\n");
        write("flows/book.yml", "kind: Flow\nname: book\n");
        write("people.json", r#"{"kind": "Directory"}"#);
        write("record.json", r#"{"amount": 50}"#);
        write("README.md", "kind: of\n");
        write(".hidden.yaml", "kind: [\n");
        let found = read_documents(&[folder.path().to_owned()]).unwrap();
        let kinds: Vec<_> = found.documents.iter().map(|document| document.kind).collect();
        assert_eq!(kinds, [Kind::Directory, Kind::Flow, Kind::ApprovalProcess]);
        assert_eq!((found.complaints.len(), found.skipped.len()), (0, 1), "{found:?}");
        let named = read_documents(&[folder.path().join("record.json")]).unwrap();
        assert_eq!(named.complaints.len(), 1);
        assert_eq!(read_documents(&[folder.path().join("absent.yaml")]).unwrap_err().exit_code(), 2);
    }
}
