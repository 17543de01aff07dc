//! Definitions that are meant to do harm, which end quickly with an error.

#![allow(
    clippy::disallowed_types,
    reason = "what is claimed here is that reading ends soon, which takes a clock to see"
)]

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::{DEFINITION_BYTES_MAX, Everything, PROCESS, completed, lines, read_process};

/// Generous for a machine that does other things and for a build without optimisation; what is guarded against takes
/// minutes, gigabytes, or all of the stack.
const LONG: Duration = Duration::from_mins(1);

#[track_caller]
fn refused(text: &str) -> String {
    let start = Instant::now();
    let complaints = read_process(&completed(text, &PROCESS), &Everything).expect_err("the definition is refused");
    assert!(start.elapsed() < LONG, "took {:?}", start.elapsed());
    let told = lines(&complaints);
    assert!(told.len() < 100_000, "complains at a length of {} bytes", told.len());
    told
}

#[test]
fn references_that_multiply_are_refused() {
    let mut bomb = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a]\n");
    for level in 1..10 {
        let references = vec![format!("*x{}", level - 1); 9].join(", ");
        writeln!(bomb, "x{level}: &x{level} [{references}]").unwrap();
    }
    // Where the fields are unknown they are refused for that already; within a schema anything may be written.
    refused(&bomb);
    let schema = format!("    {}", bomb.replace('\n', "\n    "));
    assert!(refused(&format!("record:\n  type: a\n  schema:\n{schema}")).contains("the definition is too large"));
}

#[test]
fn texts_that_nest_deeply_are_refused() {
    for (open, close) in [("[", "]"), ("{ a: ", " }")] {
        for depth in [100, 10_000] {
            let nested = format!("record: {{ type: a, schema: {}1{} }}\n", open.repeat(depth), close.repeat(depth));
            refused(&nested);
            // The closing brackets may be left out: what counts is that it ends.
            refused(&format!("record: {{ type: a, schema: {}", open.repeat(depth)));
        }
    }
    refused(&format!("record:\n  type: a\n  schema:\n    {}1", "- ".repeat(10_000)));
    refused(&format!("title: {}", "? ".repeat(10_000)));
}

#[test]
fn texts_that_are_too_long_are_refused_before_they_are_read() {
    let told = refused(&format!("title: {}", "a".repeat(DEFINITION_BYTES_MAX)));
    assert!(told.contains("at most 262144 are read"), "{told}");
}

#[test]
fn texts_with_too_many_values_are_refused() {
    let told = refused(&format!("record: {{ type: a, schema: {{ enum: [{}] }} }}", "1,".repeat(100_000)));
    assert!(told.contains("the definition is too large"), "{told}");
}

#[test]
fn the_number_of_complaints_is_bounded() {
    let rules = "{ user: nobody, levels: 1 }, ".repeat(40);
    let stage = |name| format!("{{ name: {name}, steps: [{{ name: {name}, approval: {{ assign: [{rules}] }} }}] }}");
    let told = refused(&format!("stages: [{}, {}, {}]", stage("a"), stage("b"), stage("c")));
    assert_eq!(told.lines().count(), 100);
}

#[test]
fn unknown_names_that_are_near_to_many_are_refused() {
    let name = |index| format!("{}{index:04}", "n".repeat(60));
    let steps: Vec<String> =
        (0..1_500).map(|index| format!("{{ name: {}, background: {{ flow: f }} }}", name(index))).collect();
    let unknown: Vec<String> = (8_000..8_500).map(name).collect();
    let step = format!("{{ name: b, start: {{ after: [{}] }}, background: {{ flow: f }} }}", unknown.join(", "));
    refused(&format!("stages: [{{ name: a, steps: [{step}, {}] }}]", steps.join(", ")));
}

#[test]
fn the_number_of_stages_and_steps_is_bounded() {
    let mut stages = String::from("stages:\n");
    for index in 0..=100 {
        writeln!(
            stages,
            "- {{ name: s{index}, steps: [{{ name: a{index}, approval: {{ assign: [{{ user: a }}] }} }}] }}"
        )
        .unwrap();
    }
    assert_eq!(refused(&stages), "2:3 stages: 101 are too many; use at most 100");
    let mut steps = String::from("stages:\n- name: a\n  steps:\n");
    for index in 0..=100 {
        writeln!(steps, "  - {{ name: a{index}, approval: {{ assign: [{{ user: a }}] }} }}").unwrap();
    }
    assert_eq!(refused(&steps), "4:5 stages[0].steps: 101 are too many; use at most 100");
}

#[test]
fn every_list_is_bounded() {
    let list = |element: &str, count: usize| vec![element; count].join(", ");
    let step = |body: &str| {
        format!(
            "stages: [{{ name: a, steps: [{{ name: b, approval: {{ assign: [{{ user: a }}] }} }}, {{ name: c, {body} }}] }}]"
        )
    };
    let fields: Vec<String> = (0..101).map(|index| format!("f{index}: '1'")).collect();
    for (text, most) in [
        (step(&format!("approval: {{ assign: [{}] }}", list("{ user: a }", 51))), 50),
        (step(&format!("approval: {{ assign: [{{ user: a }}], distinct_from: [{}] }}", list("b", 51))), 50),
        (step(&format!("start: {{ after: [{}] }}, background: {{ flow: f }}", list("b", 101))), 100),
        (step(&format!("background: {{ flow: f, retry: {{ non_retryable: [{}] }} }}", list("A", 51))), 50),
        (step(&format!("background: {{ flow: f, input: {{ {} }} }}", fields.join(", "))), 100),
        (
            format!(
                "stages: [{{ name: a, steps: [{{ name: b, approval: {{ assign: [{{ user: a }}] }} }}], next: [{}, {{ to: end }}] }}]",
                list("{ when: 'true', to: end }", 50)
            ),
            50,
        ),
    ] {
        let told = refused(&text);
        assert!(told.contains(&format!("are too many; use at most {most}")), "{told}");
    }
}

#[test]
fn schemas_whose_references_multiply_are_refused() {
    let mut parts = String::new();
    for index in 0..30 {
        let reference = format!("{{ $ref: '#/$defs/d{}' }}", index + 1);
        write!(parts, "d{index}: {{ allOf: [{reference}, {reference}] }}, ").unwrap();
    }
    let told =
        refused(&format!("record: {{ type: a, schema: {{ $ref: '#/$defs/d0', $defs: {{ {parts} d30: {{}} }} }} }}"));
    assert!(told.contains("it is too large: at most 10000 values, references included"), "{told}");
}

#[test]
fn schemas_whose_references_go_deep_are_refused() {
    let mut parts = String::new();
    for index in 0..500 {
        write!(parts, "d{index}: {{ allOf: [{{ $ref: '#/$defs/d{}' }}] }}, ", index + 1).unwrap();
    }
    let told =
        refused(&format!("record: {{ type: a, schema: {{ $ref: '#/$defs/d0', $defs: {{ {parts} d500: {{}} }} }} }}"));
    assert!(told.contains("it is too deep: at most 128 levels, references included"), "{told}");
}

#[test]
fn schemas_with_many_patterns_are_refused() {
    let fields: Vec<String> =
        (0..101).map(|index| format!("f{index}: {{ pattern: '(\\w{{9}}{index}){{9}}' }}")).collect();
    let told = refused(&format!("record: {{ type: a, schema: {{ properties: {{ {} }} }} }}", fields.join(", ")));
    assert!(told.contains("it has too many patterns; use at most 100"), "{told}");
}

#[test]
fn expressions_that_are_hostile_are_refused() {
    let told = refused(&format!("summary: \"{}1{}\"", "(".repeat(1_000), ")".repeat(1_000)));
    assert!(told.starts_with("1:"), "{told}");
    refused(&format!("summary: \"'{}'\"", "a".repeat(100_000)));
}
