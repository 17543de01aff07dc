//! What other systems are told of the scenarios, against `docs/events.md` and the schema.

use std::{
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use jsonschema::Validator;
use quorate::scheduler::lifecycle::{self, FLOW_EVENTS, LIFECYCLE_TYPES};
use quorate_engine::{
    command::Command,
    evolve::{begin, evolve},
    state::Submission,
};
use serde_json::Value;

use crate::{
    play::{self, Definitions, Player, Refused},
    scripts,
    world::{Answer, World},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&read(&format!("proto/schema/{name}.schema.json"))).unwrap()
}

/// The rules alone, with a reader of what they tell.
struct Reader {
    validator: Validator,
    /// For what flows tell in their own words.
    of_flows: Validator,
    state: Option<Submission>,
    told: BTreeSet<String>,
    told_by_flows: usize,
    complaints: Vec<String>,
}

impl Player for Reader {
    fn begin(&mut self, _: &Definitions, _: &World) {
        self.state = None;
    }

    fn carry_out(&mut self, command: &Command, world: &mut World) -> Result<Answer, Refused> {
        let answer = world.run(command)?;
        for event in &answer.events {
            match &mut self.state {
                Some(state) => evolve(state, event),
                None => self.state = begin(event),
            }
            let state = self.state.as_ref().unwrap();
            if let Some(message) = lifecycle::message(state, state.version, event) {
                let own = message.routing_key.strip_prefix(FLOW_EVENTS).is_none();
                let validator = if own { &self.validator } else { &self.of_flows };
                let errors = validator.iter_errors(&message.body).map(|error| error.to_string());
                self.complaints.extend(errors.map(|error| format!("{error}: {}", message.body)));
                if own {
                    self.told.insert(message.routing_key);
                } else {
                    self.told_by_flows += 1;
                }
            }
        }
        Ok(answer)
    }
}

#[test]
fn what_is_told_of_every_scenario_meets_the_schema_and_nothing_is_never_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/scenarios");
    let people = fs::read_to_string(folder.join("people.yaml")).unwrap();
    let mut reader = Reader {
        validator: jsonschema::validator_for(&schema("event")).unwrap(),
        of_flows: jsonschema::validator_for(&schema("flow_event")).unwrap(),
        state: None,
        told: BTreeSet::new(),
        told_by_flows: 0,
        complaints: Vec::new(),
    };
    for script in &scripts(&folder) {
        for scenario in &script.scenarios {
            // Whether it goes as it is written is another test's matter.
            let played = panic::catch_unwind(AssertUnwindSafe(|| play::play(script, scenario, &people, &mut reader)));
            assert!(matches!(played, Ok(Ok(_))), "{}:{}", script.file, scenario.line);
        }
    }
    assert!(reader.complaints.is_empty(), "{}", reader.complaints.join("\n"));
    let all = LIFECYCLE_TYPES.iter().map(|&known| known.to_owned()).collect();
    assert_eq!(reader.told, all, "no scenario tells of some");
    assert!(reader.told_by_flows > 0, "no scenario has a flow that tells of anything");
}

#[test]
fn the_schema_and_the_document_list_every_event() {
    let listed = schema("event")["properties"]["type"]["enum"].as_array().unwrap().clone();
    let named: Vec<String> = LIFECYCLE_TYPES.iter().map(|name| format!("quorate.{name}")).collect();
    assert_eq!(listed, named);

    let document = read("docs/events.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let described: Vec<&str> = rows.map(|(name, _)| name).filter(|name| name.contains('.')).collect();
    assert_eq!(described, LIFECYCLE_TYPES);
}
