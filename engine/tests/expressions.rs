//! Expressions, as tables that a person can read, and the hostile ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeSet;
use std::thread;

use proptest::prelude::*;
use quorate_engine::expression::{
    ALLOCATED_BYTES_MAX, EvalError, EvalErrorReason, Expression, ExpressionError, Key, MATCHED_BYTES_MAX, STEPS_MAX,
    Scope, Type, Usage, Value, Variables,
};
use serde_json::json;

#[path = "expressions/hostile.rs"]
mod hostile;

#[test]
fn expressions_evaluate_as_the_table_says() {
    for (line, columns) in rows(include_str!("expressions/evaluation.txt")) {
        let [source, variables, expected] = columns.as_slice() else { panic!("line {line}: three columns, please") };
        let expression = Expression::parse(source).unwrap_or_else(|error| panic!("line {line}: {error}"));
        let result = expression.eval(&variables_of(variables)).and_then(|value| value.to_json());
        match (result, expected.strip_prefix('!')) {
            (Err(EvalError { reason, .. }), Some(expected)) => assert_eq!(reason.as_str(), expected, "line {line}"),
            (Ok(value), None) => {
                let expected: serde_json::Value = serde_json::from_str(expected).expect("the result is JSON");
                assert_eq!(value, expected, "line {line}: {source}");
            }
            (result, _) => panic!("line {line}: {source} should be {expected}, is {result:?}"),
        }
    }
}

#[test]
fn expressions_are_checked_as_the_table_says() {
    let mut wrong = Vec::new();
    for (line, columns) in rows(include_str!("expressions/checks.txt")) {
        let [source, expected] = columns.as_slice() else { panic!("line {line}: two columns, please") };
        let found = match Expression::parse(source).and_then(|expression| expression.check(&scope())) {
            Ok(ty) => ty.to_string(),
            Err(ExpressionError { message, offset }) => {
                format!("! {}: {message}", offset.expect("every error has a place"))
            }
        };
        if found != *expected {
            wrong.push(format!("line {line}: {source}\n  should be {expected}\n  is        {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_condition_must_be_a_bool() {
    let amount = Expression::parse("record.amount").unwrap();
    let error = amount.check_bool(&scope()).unwrap_err();
    assert_eq!(error.message, "the result is double; a condition must be a bool, such as a comparison");
    assert_eq!(Expression::parse("any.thing").unwrap().check_bool(&scope()), Ok(()));
    let variables = variables_of(r#"{"record": {"amount": 1}}"#);
    assert_eq!(amount.eval_bool(&variables).unwrap_err().reason, EvalErrorReason::NotBool);
}

#[test]
fn an_error_has_the_place_where_it_arose() {
    let expression = Expression::parse("1 == 1 &&\n  record.missing == 2 // why").unwrap();
    let error = expression.eval(&variables_of(r#"{"record": {}}"#)).unwrap_err();
    assert_eq!(error.message, "no such field `missing`; guard it with has()");
    assert_eq!(error.offset, Some(18));
}

#[test]
fn the_names_that_are_read_are_known() {
    let source = "steps.manager.status == 'APPROVED' && steps['finance'].status != '' \
                  && record.lines.exists(line, line.price > limit[record.kind]) && has(record.note)";
    let expression = Expression::parse(source).unwrap();
    let path = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
    let expected: BTreeSet<_> =
        ["steps.manager.status", "steps.finance.status", "record.lines", "record.kind", "record.note", "limit"]
            .map(path)
            .into();
    assert_eq!(expression.paths(), &expected);
    assert!(expression.reads("record"));
    assert!(!expression.reads("line"));
    assert!(!expression.reads("now"));
}

#[test]
fn a_schema_says_what_is_known_of_a_record() {
    let schema = json!({"type": "object", "properties": {
        "amount": {"type": "number"}, "day": {"type": "string", "format": "date-time"},
        "any": {"oneOf": [{"type": "string"}]}, "maybe": {"type": ["string", "null"]},
        "list": {"type": "array", "items": {"type": "integer"}}, "loose": {"type": "array"},
    }});
    let ty = Type::from_json_schema(&schema);
    let Type::Object { fields, open } = &ty else { panic!("an object") };
    assert!(open);
    let types: Vec<String> = fields.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
    assert_eq!(
        types,
        ["amount: double", "any: dyn", "day: string", "list: list(int)", "loose: list(dyn)", "maybe: dyn"]
    );
    let value = Value::from_json(&json!({"amount": 1, "list": [1, 2.0, 2.5], "other": 3}), &ty);
    let Value::Map(record) = &value else { panic!("a map") };
    assert_eq!(record[&Key::from("amount")], Value::Double(1.0));
    assert_eq!(record[&Key::from("list")], Value::list(vec![Value::Int(1), Value::Int(2), Value::Double(2.5)]));
    assert_eq!(record[&Key::from("other")], Value::Double(3.0));
    assert_eq!(value.to_json().unwrap(), json!({"amount": 1, "list": [1, 2, 2.5], "other": 3}));
}

#[test]
fn hostile_expressions_end_with_an_error() {
    for case in hostile::hostile() {
        let (outcome, _) = run(&case.source, &hostile::variables());
        assert_eq!(outcome, case.ends_in, "{}", case.name);
    }
}

/// Steps stand for time, and do not depend on the machine: `cargo run -p quorate-engine --example hostile` shows that
/// each ends in well under 50 ms in this profile.
#[test]
fn hostile_expressions_together_take_fewer_steps_than_twenty_may() {
    let variables = hostile::variables();
    let mut together = 0;
    for case in hostile::hostile() {
        let (_, usage) = run(&case.source, &variables);
        assert_within_budget(usage);
        together += usage.steps;
    }
    assert!(together < 20 * STEPS_MAX, "{together} steps");
}

#[test]
fn long_and_deep_expressions_that_are_harmless_are_evaluated() {
    for source in hostile::harmless() {
        let expression = Expression::parse(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(expression.check_bool(&Scope::new()), Ok(()), "{source}");
        assert_eq!(expression.eval_bool(&Variables::new()), Ok(true), "{source}");
    }
}

/// The smallest stack that a thread of the server has; the test harness may give more.
#[test]
fn no_expression_overflows_a_stack_of_two_mebibytes() {
    let all = || hostile::hostile().into_iter().map(|case| case.source).chain(hostile::harmless());
    let thread = thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        for source in all() {
            if let Ok(expression) = Expression::parse(&source) {
                let _ = expression.check(&scope());
                let _ = expression.eval(&hostile::variables());
            }
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn a_budget_that_is_used_up_is_not_taken_for_false() {
    let loops = (0..7).fold("true".to_owned(), |inner, _| format!("[0,1,2,3,4,5,6,7,8,9].all(x, {inner})"));
    for source in [format!("{loops} || true"), format!("true || {loops}"), format!("false && {loops}")] {
        let expected = if source.starts_with('[') { "BUDGET_EXCEEDED" } else { "a value" };
        assert_eq!(run(&source, &Variables::new()).0, expected);
    }
}

proptest! {
    #[test]
    fn random_tokens_never_panic_and_stay_within_the_budget(tokens in prop::collection::vec(token(), 0..60)) {
        let source = tokens.join(" ");
        let (_, usage) = run(&source, &hostile::variables());
        assert_within_budget(usage);
    }

    #[test]
    fn random_text_never_panics(source in "\\PC{0,200}") {
        let _ = run(&source, &Variables::new());
    }

    #[test]
    fn what_is_generated_well_formed_is_bounded_and_repeatable(source in well_formed()) {
        let variables = hostile::variables();
        let (outcome, usage) = run(&source, &variables);
        assert_within_budget(usage);
        prop_assert_eq!((outcome, usage), run(&source, &variables));
    }
}

fn token() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "record",
        "s",
        "x",
        "1",
        "2.5",
        "'a'",
        "b'b'",
        "null",
        "true",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        ":",
        "?",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "<",
        "in",
        "&&",
        "||",
        ".map(x,",
        ".filter(x,",
        ".all(x,",
        "has(",
        "size(",
        ".lines",
        ".text",
        ".split('')",
        ".matches('a+')",
        "//",
        "\n",
        "`",
        "'",
        "if",
        "0x",
        "é",
    ])
    .prop_map(str::to_owned)
}

fn well_formed() -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(vec!["1", "2.5", "'ab'", "true", "null", "s", "record", "record.lines", "[1, 2]", "x"])
            .prop_map(str::to_owned);
    leaf.prop_recursive(6, 40, 3, |inner| {
        let binary = prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "<", "in", "&&", "||"]);
        prop_oneof![
            (inner.clone(), binary, inner.clone())
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            (inner.clone(), prop::sample::select(vec!["map", "filter", "all", "exists"]), inner.clone())
                .prop_map(|(range, name, body)| format!("{range}.{name}(x, {body})")),
            (inner.clone(), inner.clone()).prop_map(|(first, second)| format!("[{first}, {second}]")),
            (inner.clone(), inner.clone()).prop_map(|(first, second)| format!("{{'a': {first}, 'b': {second}}}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(text, part)| format!("{text}.replace({part}, {text})")),
            inner.clone().prop_map(|text| format!("string({text})")),
            inner.prop_map(|list| format!("{list}.join(',')")),
        ]
    })
}

/// Parses, checks and evaluates; the outcome is a value, the reason of a failure or `PARSE`.
fn run(source: &str, variables: &Variables) -> (&'static str, Usage) {
    let Ok(expression) = Expression::parse(source) else { return ("PARSE", Usage::default()) };
    let _ = expression.check(&scope());
    let (result, usage) = expression.eval_metered(variables);
    (result.map_or_else(|error| error.reason.as_str(), |_| "a value"), usage)
}

fn assert_within_budget(usage: Usage) {
    assert!(usage.steps <= STEPS_MAX, "{usage:?}");
    assert!(usage.allocated_bytes <= ALLOCATED_BYTES_MAX, "{usage:?}");
    assert!(usage.matched_bytes <= MATCHED_BYTES_MAX, "{usage:?}");
}

fn scope() -> Scope {
    let record = json!({"type": "object", "additionalProperties": false, "properties": {
        "amount": {"type": "number"},
        "quantity": {"type": "integer"},
        "vendor": {"type": "string"},
        "urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "lines": {"type": "array", "items": {"type": "object", "additionalProperties": false, "properties": {
            "name": {"type": "string"}, "price": {"type": "number"},
        }}},
    }});
    let open = json!({"type": "object", "properties": {"known": {"type": "string"}}});
    Scope::new()
        .with("record", Type::from_json_schema(&record))
        .with("open", Type::from_json_schema(&open))
        .with("now", Type::Timestamp)
        .with("any", Type::Dyn)
}

fn variables_of(json: &str) -> Variables {
    let mut variables = Variables::new();
    if !json.is_empty() {
        let values: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).expect("variables are JSON");
        for (name, value) in values {
            variables.set(&name, Value::from_json(&value, &Type::Dyn));
        }
    }
    variables
}

/// The rows of a table: columns between ` | `, and lines of comment.
fn rows(table: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    (1..)
        .zip(table.lines())
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| (number, line.split(" | ").map(str::trim).collect()))
}
