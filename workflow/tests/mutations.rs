//! Documents as people mistype them: the words of the cases in `features/`, left out, doubled, replaced and swapped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::Path};

use quorate_workflow::Workflow;

/// Enough to reach every field with something wrong, in a second or two.
const DOCUMENTS: usize = 1500;

const DOCUMENT: &str = "\ndocument: { dsl: '1.0.3', namespace: tests, name: case, version: '1.0.0' }\n";

/// The same numbers in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_inclusive(|c: char| " :{}[],\n".contains(c)).map(str::to_owned).collect()
}

fn documents() -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let workflow = |case: &str| case.split_once('\n').unwrap().1.split("\n--- ").next().unwrap().to_owned();
    let read = |file| fs::read_to_string(file).unwrap().split("\n=== ").skip(1).map(workflow).collect::<Vec<_>>();
    files.into_iter().flat_map(read).collect()
}

fn mistyped(document: &str, vocabulary: &[String], numbers: &mut Numbers) -> String {
    let mut words = words(document);
    for _ in 0..=numbers.below(4) {
        if words.len() < 2 {
            break;
        }
        let (place, other) = (numbers.below(words.len()), numbers.below(words.len()));
        match numbers.below(4) {
            0 => drop(words.remove(place)),
            1 => words.insert(place, vocabulary[numbers.below(vocabulary.len())].clone()),
            2 => words[place].clone_from(&vocabulary[numbers.below(vocabulary.len())]),
            _ => words.swap(place, other),
        }
    }
    words.concat() + DOCUMENT
}

#[test]
fn whatever_is_mistyped_is_refused_with_a_reason_or_means_the_same_as_json() {
    let documents = documents();
    let vocabulary: Vec<String> = documents.iter().flat_map(|document| words(document)).collect();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..DOCUMENTS {
        let document = &documents[numbers.below(documents.len())];
        let text = mistyped(document, &vocabulary, &mut numbers);
        match Workflow::read(&text, None) {
            Ok(workflow) => {
                accepted += 1;
                let again = Workflow::from_json(workflow.definition().clone());
                assert!(again.is_ok_and(|again| again.definition() == workflow.definition()), "{text}");
            }
            Err(complaints) => {
                refused += 1;
                assert!(!complaints.is_empty(), "{text}");
                // What is said of a reader that has panicked.
                assert!(
                    complaints.iter().all(|complaint| complaint.message != "the document could not be checked"),
                    "{text}"
                );
            }
        }
    }
    assert!(refused > DOCUMENTS / 2 && accepted > DOCUMENTS / 50, "{refused} were refused, {accepted} accepted");
}
