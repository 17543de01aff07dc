//! Cycles among names.

use std::collections::{BTreeMap, BTreeSet};

/// A way from a name back to itself, as `a > b > a`; `None` when there is none. Names that are not keys lead nowhere.
pub(super) fn find_cycle<'a>(edges: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<(&'a str, String)> {
    // Each name is walked from once, and by a stack of our own: definitions may hold long chains.
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys().copied() {
        let mut walk = Vec::new();
        if seen.insert(start) {
            walk.push((start, edges[start].iter()));
        }
        while let Some((_, onward)) = walk.last_mut() {
            let Some(next) = onward.next().copied() else {
                walk.pop();
                continue;
            };
            if seen.insert(next) {
                if let Some(onward) = edges.get(next) {
                    walk.push((next, onward.iter()));
                }
            } else if let Some(first) = walk.iter().position(|(name, _)| *name == next) {
                let names: Vec<&str> = walk[first..].iter().map(|(name, _)| *name).chain([next]).collect();
                return Some((next, names.join(" > ")));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::find_cycle;

    #[test]
    fn a_cycle_is_shown_from_a_name_back_to_it() {
        let edges = BTreeMap::from([("a", vec!["b"]), ("b", vec!["x", "c"]), ("c", vec!["d", "b"]), ("d", vec![])]);
        assert_eq!(find_cycle(&edges), Some(("b", "b > c > b".to_owned())));
        assert_eq!(find_cycle(&BTreeMap::from([("a", vec!["a"])])), Some(("a", "a > a".to_owned())));
        assert_eq!(find_cycle(&BTreeMap::from([("a", vec!["b"]), ("b", vec!["c"])])), None);
    }
}
