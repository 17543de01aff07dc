//! Whether every rule of the design has a scenario that shows it: `scenarios/coverage.md`, checked against the scenarios.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The sections of the design that hold rules.
const SECTIONS: [&str; 6] = ["2.1", "2.2", "2.3", "2.4", "2.5", "2.6"];

/// The claims of each file: the titles of scenarios without the process that they are about, or the rules of a table.
fn claims() -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let titles = text.lines().filter_map(|line| {
            let title = line.strip_prefix("== ").map(|title| title.rsplit_once(" (").unwrap().0);
            let rule = line.split_once('|').map(|(rule, _)| rule.trim()).filter(|rule| !rule.starts_with('#'));
            title.or(rule).map(str::to_owned)
        });
        (path.file_name().unwrap().to_str().unwrap().to_owned(), titles.collect())
    };
    tables.map(read).collect()
}

#[test]
fn every_rule_has_scenarios_and_every_file_shows_a_rule() {
    let claims = claims();
    let mut complaints = Vec::new();
    let mut sections = BTreeSet::new();
    let mut shown = BTreeSet::new();
    // The rule at hand, and how many scenarios it has.
    let mut rule: Option<(&str, u32)> = None;
    let text = include_str!("scenarios/coverage.md");
    for line in text.lines().chain(["2.6"]) {
        if let Some((file, claim)) = line.strip_prefix("- ").and_then(|scenario| scenario.split_once(": ")) {
            if !claims.get(file).is_some_and(|claims| claims.contains(claim)) {
                complaints.push(format!("there is no scenario `{claim}` in {file}"));
            }
            shown.insert(file);
            let Some((_, count)) = &mut rule else { panic!("`{line}` shows no rule") };
            *count += 1;
        } else if let Some(section) = SECTIONS.iter().find(|section| line.starts_with(*section)) {
            if let Some((rule, 0)) = rule.replace((line, 0)) {
                complaints.push(format!("nothing shows `{rule}`"));
            }
            sections.insert(*section);
        }
    }
    complaints.extend(
        claims.keys().filter(|file| !shown.contains(file.as_str())).map(|file| format!("{file} shows no rule")),
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(sections, BTreeSet::from(SECTIONS));
}
