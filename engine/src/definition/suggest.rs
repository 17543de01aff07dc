//! "Did you mean …?"

/// Names longer than this are not compared: the work grows with the product of the lengths.
const COMPARED_CHARS_MAX: usize = 64;

/// How many names are compared. A directory may hold a hundred thousand, and a hundred complaints may ask.
const COMPARED_NAMES_MAX: usize = 500;

/// The candidate nearest to a name, if one is so near that it may have been meant: a third of the name may differ.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().collect();
    if name.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let allowed = name.len().div_ceil(3).min(3);
    candidates
        .into_iter()
        .take(COMPARED_NAMES_MAX)
        .filter_map(|candidate| {
            let near: Vec<char> = candidate.chars().take(COMPARED_CHARS_MAX + 1).collect();
            (near.len().abs_diff(name.len()) <= allowed).then(|| (distance(&name, &near, allowed), candidate))
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be put in, taken out, replaced, or exchanged with their neighbour; anything above `allowed` where
/// it is more than that. Places further apart than that need not be looked at.
fn distance(left: &[char], right: &[char], allowed: usize) -> usize {
    let far = allowed + 1;
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![far; right.len() + 1];
        row[0] = i + 1;
        for j in i.saturating_sub(far)..right.len().min(i + far) {
            let b = right[j];
            let mut cost = (last[j] + usize::from(*a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == b {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row[j + 1] = cost;
        }
        if row.iter().all(|cost| *cost > allowed) {
            return far;
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
