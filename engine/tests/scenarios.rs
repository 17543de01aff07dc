//! The rules as tables that a process owner could read: commands in; statuses, events or a refusal out.
//!
//! Each `scenarios/*.txt` defines processes and then tells what happens to submissions on them; `scenarios/README.md` says how
//! to write one. After every command all invariants are checked as well.

#[path = "support/expectation.rs"]
mod expectation;
#[path = "support/invariants.rs"]
mod invariants;
#[path = "support/play.rs"]
mod play;
#[path = "support/script.rs"]
mod script;
#[path = "support/votes.rs"]
mod votes;
#[path = "support/world.rs"]
mod world;

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use play::{Definitions, Player, Refused};
use quorate_engine::command::Command;
use script::{Scenario, Script};
use world::{Answer, World};

/// The engine alone.
struct Engine;

impl Player for Engine {
    fn begin(&mut self, _: &Definitions, _: &World) {}

    fn carry_out(&mut self, command: &Command, world: &mut World) -> Result<Answer, Refused> {
        Ok(world.run(command)?)
    }
}

#[test]
fn every_scenario_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let people = fs::read_to_string(folder.join("people.yaml")).expect("the people of the scenarios are there");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the scenarios are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter(|path| path.file_stem().is_some_and(|name| name != "decision_rules"))
        .collect();
    files.sort();
    let mut played = 0;
    let mut complaints = Vec::new();
    for path in &files {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let text = fs::read_to_string(path).expect("the scenario can be read");
        let script = match Script::parse(file, &text) {
            Ok(script) => script,
            Err(complaint) => {
                complaints.push(complaint);
                continue;
            }
        };
        for scenario in &script.scenarios {
            played += 1;
            // An invariant that does not hold is told with the scenario in which it does not.
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| play::play(&script, scenario, &people, &mut Engine)));
            match outcome {
                Ok(Ok(_)) => {}
                Ok(Err(complaint)) => complaints.push(complaint),
                Err(_) => {
                    let Scenario { line, title, .. } = scenario;
                    complaints.push(format!("{file}:{line}: an invariant does not hold in `{title}`: see above"));
                }
            }
        }
    }
    assert!(complaints.is_empty(), "{} of {played} scenarios:\n{}", complaints.len(), complaints.join("\n"));
    assert!(played > 0, "no scenario was found");
}

#[test]
fn every_row_of_the_decision_rules_is_as_it_is_written() {
    let (rows, complaints) = votes::check_table("decision_rules.txt", include_str!("scenarios/decision_rules.txt"));
    assert!(complaints.is_empty(), "{} of {rows} rows:\n{}", complaints.len(), complaints.join("\n"));
    assert!(rows > 0, "no row was found");
}
