//! Documents that a test can check.

use std::fs;

#[test]
fn every_reason_of_the_api_has_its_section_and_no_section_is_without_a_reason() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md")).unwrap();
    let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, quorate::api::REASONS);
}
