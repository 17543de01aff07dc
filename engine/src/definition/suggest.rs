//! "Did you mean …?"

/// Names longer than this are not compared: the work grows with the product of the lengths.
const COMPARED_CHARS_MAX: usize = 64;

/// The candidate nearest to a name, if one is so near that it may have been meant: a third of the name may differ.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().collect();
    if name.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let allowed = name.len().div_ceil(3).min(3);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let near: Vec<char> = candidate.chars().take(COMPARED_CHARS_MAX + 1).collect();
            (near.len().abs_diff(name.len()) <= allowed).then(|| (distance(&name, &near), candidate))
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The end of a complaint about an unknown name: what may have been meant, or nothing.
pub(super) fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// How many characters must be put in, taken out, replaced, or exchanged with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = last;
        last = row;
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_name_is_suggested_if_it_is_near() {
        let names = ["finance", "board", "book"];
        assert_eq!(nearest("finanec", names), Some("finance"));
        assert_eq!(nearest("boord", names), Some("board"));
        assert_eq!(nearest("boo", names), Some("book"));
        assert_eq!(nearest("treasury", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"x".repeat(1000), names), None);
    }
}
