//! The table of decision rules: a rule, how many are asked, their votes in order, and what they come to.

use quorate_engine::{
    decision_rule::Votes,
    definition::{DecisionRule, Quorum, RejectRule},
    state::Verdict,
};

/// How many rows there are, and what is wrong with them.
pub(crate) fn check_table(file: &str, text: &str) -> (usize, Vec<String>) {
    let rows = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let checked: Vec<_> =
        rows.map(|(line, row)| check_row(row).map_err(|complaint| format!("{file}:{line}: {complaint}"))).collect();
    (checked.len(), checked.into_iter().filter_map(Result::err).collect())
}

fn check_row(row: &str) -> Result<(), String> {
    let columns: Vec<_> = row.split('|').map(str::trim).collect();
    let [rule, asked, votes, expected] = columns[..] else {
        return Err(format!("`{row}` is not `rule | asked | votes | outcome`"));
    };
    let count = |wanted: &str| number(&votes.split_whitespace().filter(|vote| *vote == wanted).count().to_string());
    let votes_given = number(&votes.split_whitespace().count().to_string())?;
    let votes = Votes { asked: number(asked)?, approved: count("A")?, rejected: count("R")? };
    if votes.approved + votes.rejected != votes_given || votes_given > votes.asked {
        return Err("the votes are not one of `A` and `R` each, or more than are asked".to_owned());
    }
    let outcome = parse_rule(rule)?.outcome(votes).map_or("PENDING", Verdict::as_str);
    if outcome == expected { Ok(()) } else { Err(format!("it is {outcome}, and {expected} is expected")) }
}

/// `at_least 2, reject any`
fn parse_rule(text: &str) -> Result<DecisionRule, String> {
    let (approve, reject) = text.split_once(", reject ").unwrap_or((text, "unreachable"));
    let approve = match approve.split(' ').collect::<Vec<_>>()[..] {
        ["any"] => Quorum::Any,
        ["all"] => Quorum::All,
        ["at_least", count] => Quorum::AtLeast(number(count)?),
        ["percent", percent] => Quorum::Percent(number(percent)?),
        _ => return Err(format!("`{approve}` is no rule")),
    };
    let reject = match reject.split(' ').collect::<Vec<_>>()[..] {
        ["any"] => RejectRule::Any,
        ["at_least", count] => RejectRule::AtLeast(number(count)?),
        ["unreachable"] => RejectRule::Unreachable,
        _ => return Err(format!("`{reject}` is no rule of rejection")),
    };
    Ok(DecisionRule { approve, reject })
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}
