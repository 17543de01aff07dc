//! Expressions written to hold up a server, with the failure that each must end in. They read `s`, a text of a thousand
//! characters, `noise`, which is one without a pattern, and `record`, which is as large as a body may be.

use std::fmt::Write as _;
use std::sync::Arc;

use quorate_engine::expression::{Value, Variables};

/// A hostile expression.
pub(crate) struct Hostile {
    /// What it attacks.
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) source: String,
    /// The name of the reason of its failure, or `PARSE` if it must not even be read.
    pub(crate) ends_in: &'static str,
}

/// All hostile expressions.
pub(crate) fn hostile() -> Vec<Hostile> {
    let digits = "[0,1,2,3,4,5,6,7,8,9]";
    let mut all = Vec::new();
    let mut add = |name, source: String, ends_in| all.push(Hostile { name, source, ends_in });

    let nested =
        |macro_call: &str| (0..7).fold("1".to_owned(), |inner, _| format!("{digits}.{macro_call}(x, {inner})"));
    add("seven nested maps over ten", nested("map"), "BUDGET_EXCEEDED");
    let filters = (0..7).fold("true".to_owned(), |inner, _| format!("{digits}.filter(x, {inner}).size() > 0"));
    add("seven nested filters over ten", filters, "BUDGET_EXCEEDED");
    let all_nested = (0..7).fold("true".to_owned(), |inner, _| format!("{digits}.all(x, {inner})"));
    add("seven nested quantifiers over ten", all_nested, "BUDGET_EXCEEDED");
    let joined = ["v"; 10].join(" + ");
    let doubling = (0..8).fold("'0123456789'".to_owned(), |inner, _| format!("[{inner}].map(v, {joined})[0]"));
    add("a text joined to itself, eight deep", doubling, "BUDGET_EXCEEDED");
    let shared = (0..12).fold("s".to_owned(), |inner, _| format!("[{inner}].map(v, [v, v])[0]"));
    add("a list of itself twice, twelve deep", shared, "BUDGET_EXCEEDED");
    let wide =
        (0..8).fold("s".to_owned(), |inner, _| format!("[{inner}].map(v, {{'a': v, 'b': v, 'c': v, 'd': v}})[0]"));
    add("a map of itself four times, eight deep", wide, "BUDGET_EXCEEDED");
    let replaced = (0..8).fold("'aaaaaaaaaa'".to_owned(), |inner, _| format!("{inner}.replace('a', 'aaaaaaaaaa')"));
    add("replacements that grow, eight deep", replaced, "BUDGET_EXCEEDED");
    add("a join with a long separator", "record.lines.map(l, 'x').join(s)".to_owned(), "BUDGET_EXCEEDED");
    add("splits of a long text in a loop", format!("{digits}.map(x, record.text.split(''))"), "BUDGET_EXCEEDED");
    add(
        "searches of a long text in a loop",
        "record.lines.all(l, !record.text.contains('aab'))".to_owned(),
        "BUDGET_EXCEEDED",
    );
    add("comparisons of a large record in a loop", "record.lines.all(l, record == same)".to_owned(), "BUDGET_EXCEEDED");
    add(
        "a search for a record in a loop",
        "record.lines.all(l, !(record.lines in [same.lines + [1], 2]))".to_owned(),
        "BUDGET_EXCEEDED",
    );
    add(
        "a lookup in a large list for each element",
        "record.lines.all(l, !(-1.0 in record.lines))".to_owned(),
        "BUDGET_EXCEEDED",
    );

    let in_loop = |condition: &str| format!("record.lines.all(l, {condition})");
    let exists = |condition: &str| format!("record.lines.exists(l, {condition})");
    add("a long text searched for in a short one", in_loop("'a'.indexOf(record.text) < 0"), "BUDGET_EXCEEDED");
    add("a long text read as a number", exists("double(record.text) > 0.0"), "BUDGET_EXCEEDED");
    add("failures that are set aside", exists("l.trim()"), "BUDGET_EXCEEDED");
    add("failures of conversions", exists("timestamp(string(l)) > 1 || int('x') == 1"), "BUDGET_EXCEEDED");
    add("failures with long names", exists("record[record.text]"), "BUDGET_EXCEEDED");
    add("bad patterns", exists("s.matches('[')"), "BUDGET_EXCEEDED");

    add("a repeat of a repeat", "s.matches('(a{1,200}){1,200}$')".to_owned(), "BUDGET_EXCEEDED");
    add("patterns as large as may be", patterns_of(4, "([a-f]{1,9}[^xyz]?){1,2}"), "BUDGET_EXCEEDED");
    add("patterns whose states are all alive", patterns_of(4, "(a?){60}"), "BUDGET_EXCEEDED");
    add("patterns of nested stars", patterns_of(4, "(((a*)*b?)*c?)*(a?){40}"), "BUDGET_EXCEEDED");
    let noisy = |count: u32| format!("{digits}.all(x, !noise.matches('[ab]*a[ab]{{{count}}}c'))");
    add("a small pattern with new states at each character", noisy(20), "BUDGET_EXCEEDED");
    add("a large pattern with new states at each character", noisy(80), "BUDGET_EXCEEDED");
    add("an anchored one", noisy(60).replace("'[", "'^["), "BUDGET_EXCEEDED");
    add(
        "a pattern matched in a loop",
        format!("{digits}.all(x, !s.matches('(a|aa|a[ab]){{1,8}}c$'))"),
        "BUDGET_EXCEEDED",
    );
    add(
        "many patterns",
        "['a','b','c','d','e','f'].exists(p, s.matches(p + '{30}[0-9]'))".to_owned(),
        "BUDGET_EXCEEDED",
    );
    add("a deep pattern", format!("s.matches('{}a{}')", "(".repeat(100), ")".repeat(100)), "BAD_PATTERN");
    add("a long pattern", format!("s.matches('{}')", "a?".repeat(200)), "BUDGET_EXCEEDED");

    add("a thousand opening brackets", "(".repeat(1000), "PARSE");
    add("a thousand matched brackets", format!("{}1{}", "(".repeat(1000), ")".repeat(1000)), "PARSE");
    add("negations and brackets", "!!(!!!!!!(!!!!(((((!!(".repeat(40), "PARSE");
    add("alternating signs", format!("{}1", "!-".repeat(1000)), "PARSE");
    add("a long sum", vec!["1"; 1024].join("+"), "PARSE");
    add("a long comparison", vec!["1"; 1000].join("<"), "PARSE");
    add("a deep selection", format!("a{}", ".b".repeat(1000)), "PARSE");
    add("a deep index", format!("a{}", "[0]".repeat(600)), "PARSE");
    add("a deep call", format!("a{}", ".f()".repeat(500)), "PARSE");
    add("deep conditionals", format!("{}1", "a?b:".repeat(500)), "PARSE");
    add("conditionals within conditionals", format!("{}1{}", "a?".repeat(500), ":b".repeat(500)), "PARSE");
    add("a deep list", format!("{}{}", "[".repeat(1000), "]".repeat(1000)), "PARSE");
    add("an open list", "[".repeat(2000), "PARSE");
    add("a deep map", format!("{}1{}", "{1:".repeat(500), "}".repeat(500)), "PARSE");
    add("deep macros", (0..60).fold("1".to_owned(), |inner, _| format!("[1].map(x,{inner})")), "PARSE");
    add("errors without end", "@ # ".repeat(500), "PARSE");
    add("missing operands", "+ * ".repeat(500), "PARSE");
    add("too long", "a".repeat(3000), "PARSE");
    all
}

/// Expressions which look hostile and are not: as deep and as long as may be.
pub(crate) fn harmless() -> Vec<String> {
    let mut large = "true".to_owned();
    for number in 0..150 {
        let _ = write!(large, " && {number} >= 0");
    }
    vec![
        format!("{}true{}", "(".repeat(60), ")".repeat(60)),
        format!("{}[]{} != []", "[".repeat(58), "]".repeat(58)),
        format!("{} > 0", vec!["1"; 60].join("+")),
        format!("{}true", "false?true:".repeat(60)),
        format!("{}[1].exists(x, x == 1){}", "[1].exists(x, ".repeat(16), ")".repeat(16)),
        large,
    ]
}

/// What the hostile expressions read.
pub(crate) fn variables() -> Variables {
    let record = || {
        let lines = Value::list((0..8000).map(|line| Value::Double(f64::from(line))).collect());
        let text = Value::String("ab".repeat(64 * 1024).into());
        Value::map([("lines".into(), lines), ("text".into(), text)].into())
    };
    let mut variables = Variables::new();
    variables.set("s", Value::String(Arc::from("a".repeat(1000))));
    // A generator with a fixed seed: texts without a pattern make a matcher build new states at each character.
    let noise = (0..1024_u32).scan(1_u32, |state, _| {
        *state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        Some(if *state & 0x1_0000 == 0 { 'a' } else { 'b' })
    });
    variables.set("noise", Value::String(noise.collect::<String>().into()));
    variables.set("record", record());
    variables.set("same", record());
    variables
}

fn patterns_of(count: usize, pattern: &str) -> String {
    let matches: Vec<String> =
        (0..=count).map(|number| format!("(s + '{number}').matches('{pattern}{number}$x')")).collect();
    matches.join(" || ")
}
