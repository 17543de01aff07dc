//! Prints how long each hostile expression takes to end, slowest last: `cargo run -p quorate-engine --example hostile`.
#![expect(clippy::disallowed_types, reason = "an example that shows how long expressions take")]
#![expect(clippy::print_stdout, reason = "this is what the example is for")]

use std::time::Instant;

use quorate_engine::expression::{Expression, Usage};

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/expressions/hostile.rs"]
mod hostile;

fn main() {
    let variables = hostile::variables();
    let mut measured: Vec<_> = hostile::hostile()
        .into_iter()
        .map(|case| {
            let start = Instant::now();
            let (outcome, usage) = match Expression::parse(&case.source) {
                Err(_) => ("PARSE", Usage::default()),
                Ok(expression) => {
                    let (result, usage) = expression.eval_metered(&variables);
                    (result.map_or_else(|error| error.reason.as_str(), |_| "a value"), usage)
                }
            };
            (start.elapsed(), case.name, outcome, usage)
        })
        .collect();
    measured.sort_by_key(|(elapsed, ..)| *elapsed);
    for (elapsed, name, outcome, usage) in measured {
        println!("{:8.3} ms  {:6} steps  {outcome:16}  {name}", elapsed.as_secs_f64() * 1000.0, usage.steps);
    }
}
