//! The table of decision rules: a rule, how many are asked, their votes, and what they come to.

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
    let mut counted = Votes { asked: number(asked)?, ..Votes::default() };
    for vote in votes.split_whitespace() {
        let (kind, weight) = vote.split_at(1);
        let weight = if weight.is_empty() { 1 } else { number(weight)? };
        match kind {
            "A" => counted.approved += weight,
            "R" => counted.rejected += weight,
            "S" => counted.abstained += weight,
            "V" => {
                counted.rejected += weight;
                counted.vetoed = true;
            }
            _ => return Err(format!("`{vote}` is none of `A`, `R`, `S` and `V`")),
        }
    }
    let votes = counted;
    if votes.approved + votes.rejected + votes.abstained > votes.asked {
        return Err("these are more votes than are asked".to_owned());
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
        ["weight", weight] => Quorum::Weight(number(weight)?),
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
