//! The window of a delegation, whoever writes it wherever; and what a directory takes of delegations.

use quorate_engine::{
    definition::read_directory,
    delegation::Delegation,
    directory::{Directory, DirectoryError},
};

/// The one delegation of a document whose users live where it says.
fn delegation(said: &str) -> Result<Delegation, DirectoryError> {
    delegation_from("bob", said)
}

fn delegation_from(from: &str, said: &str) -> Result<Delegation, DirectoryError> {
    let text = format!(
        "apiVersion: quorate/v1\nkind: Directory\nusers: [{{ name: bob, time_zone: Europe/Berlin }}, {{ name: carol }}, {{ name: eve }}]\n\
         delegations: [{{ from: {from}, to: carol, {said} }}]\n"
    );
    let directory = Directory::default().with_document(read_directory(&text).expect("it can be read"))?;
    directory.check()?;
    Ok(directory.delegations.into_values().next().expect("there is one"))
}

fn window(said: &str) -> (String, String) {
    let delegation = delegation(said).unwrap_or_else(|error| panic!("{error}"));
    (delegation.start.to_string(), delegation.end.to_string())
}

fn refusal(said: &str) -> String {
    delegation(said).expect_err("it is refused").to_string()
}

fn is(window: (String, String), start: &str, end: &str) {
    let (from, until) = window;
    assert_eq!((from.as_str(), until.as_str()), (start, end));
}

#[test]
fn an_instant_is_the_same_everywhere() {
    is(
        window("start: 2026-12-01T00:00:00Z, end: 2026-12-02T00:00:00+05:30"),
        "2026-12-01T00:00:00Z",
        "2026-12-01T18:30:00Z",
    );
}

#[test]
fn a_local_time_is_one_where_the_delegator_lives() {
    is(window("start: 2026-12-01, end: 2027-07-01T08:30"), "2026-11-30T23:00:00Z", "2027-07-01T06:30:00Z");
}

#[test]
fn a_local_time_is_one_in_the_time_zone_that_is_said() {
    is(
        window("start: 2026-12-01, end: 2026-12-02, time_zone: America/New_York"),
        "2026-12-01T05:00:00Z",
        "2026-12-02T05:00:00Z",
    );
}

#[test]
fn a_local_time_is_utc_where_nobody_says_otherwise() {
    let delegation = delegation_from("eve", "start: 2026-12-01, end: 2026-12-02").expect("it is sound");
    is((delegation.start.to_string(), delegation.end.to_string()), "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z");
}

#[test]
fn a_local_time_that_a_change_of_clocks_leaves_out_is_as_much_later() {
    is(window("start: 2026-03-29T02:30, end: 2026-03-30"), "2026-03-29T01:30:00Z", "2026-03-29T22:00:00Z");
}

#[test]
fn of_a_local_time_that_there_is_twice_it_is_the_first() {
    is(window("start: 2026-10-25T02:30, end: 2026-10-26"), "2026-10-25T00:30:00Z", "2026-10-25T23:00:00Z");
}

#[test]
fn a_window_has_to_be_one() {
    let backwards = refusal("start: 2026-12-02, end: 2026-12-01");
    assert!(backwards.contains("end: 2026-11-30T23:00:00Z is not after the start"), "{backwards}");
    let empty = refusal("start: 2026-12-01T00:00:00Z, end: 2026-12-01T01:00:00+01:00");
    assert!(empty.contains("is not after the start"), "{empty}");
    delegation("start: 2026-01-01T00:00:00Z, end: 2027-01-02T00:00:00Z").expect("366 days are allowed");
    let long = refusal("start: 2026-01-01T00:00:00Z, end: 2027-01-02T00:00:00.000001Z");
    assert!(long.contains("a delegation lasts 366 days at most"), "{long}");
}

#[test]
fn a_delegation_without_a_name_gets_one_of_what_it_says() {
    let named = delegation("start: 2026-12-01T00:00:00Z, end: 2026-12-02").expect("it is sound");
    assert_eq!(named.name, "bob-carol-20261201T000000Z");
}

#[test]
fn nobody_acts_for_themselves_or_is_named_twice() {
    let oneself = refusal("alternates: [bob], start: 2026-12-01, end: 2026-12-02");
    assert!(oneself.contains("alternates: `bob` cannot act for themselves"), "{oneself}");
    let twice = refusal("alternates: [eve, carol], start: 2026-12-01, end: 2026-12-02");
    assert!(twice.contains("alternates: `carol` is named twice"), "{twice}");
    let unknown = refusal("alternates: [zoe], start: 2026-12-01, end: 2026-12-02");
    assert!(unknown.contains("names user `zoe`, which does not exist"), "{unknown}");
}

#[test]
fn a_user_has_so_many_delegations_and_no_more() {
    let given = |count: usize| {
        let mut directory = Directory::default();
        for number in 0..count {
            let text = format!(
                "apiVersion: quorate/v1\nkind: Directory\nusers: [{{ name: bob }}, {{ name: carol }}]\n\
                 delegations: [{{ name: d{number}, from: bob, to: carol, start: 2026-12-01, end: 2026-12-02 }}]\n"
            );
            directory = directory.with_document(read_directory(&text).expect("it can be read")).expect("it is sound");
        }
        directory.check()
    };
    given(100).expect("100 are allowed");
    let error = given(101).expect_err("it is too many").to_string();
    assert!(error.contains("`bob` has given more than 100: delete those that have ended"), "{error}");
}

#[test]
fn two_delegations_of_a_document_do_not_take_each_others_name() {
    let text = "apiVersion: quorate/v1\nkind: Directory\nusers: [{ name: bob }, { name: carol }]\ndelegations:\n\
                - { from: bob, to: carol, start: 2026-12-01, end: 2026-12-02 }\n\
                - { from: bob, to: carol, start: 2026-12-01, end: 2026-12-03 }\n";
    let error = Directory::default().with_document(read_directory(text).expect("it can be read"));
    let error = error.expect_err("one of them would be lost").to_string();
    assert!(error.contains("there is another of this name"), "{error}");
}
