//! The commands against a fake server: what a user types, sees, and gets for an exit code.

use std::{fs, sync::atomic::Ordering, time::Duration};

use clap::{CommandFactory, Parser};
use serde_json::Value;

use crate::{
    cli::{self, Cli, Screen, fake::Fake, parse_duration},
    proto::v1::SubmissionStatus,
};

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

async fn run_as(user: &str, server: &str, arguments: &[&str]) -> Ran {
    let given = ["quorate", "--server", server, "--as", user];
    let cli = Cli::try_parse_from(given.iter().chain(arguments)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::run(cli, &mut Screen { out: &mut out, err: &mut err, progress: false }).await;
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

async fn submit(server: &str) -> Ran {
    run_as("ann", server, &["submit", "purchase-request", "--record-id", "PR-1", "--data", r#"{"amount": 50}"#]).await
}

/// Every variable that an argument of a command, or of one below it, can come from.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

#[test]
fn every_variable_is_explained_where_operators_look() {
    let explained = include_str!("../../deploy/quorate.env");
    for variable in variables(&Cli::command()) {
        assert!(explained.contains(&format!("{variable}=")), "deploy/quorate.env does not explain {variable}");
    }
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_arguments_are_refused_with_exit_code_2() {
    let wrong: [&[&str]; 24] = [
        &["submit-screen", "item"],
        &["submit-screen", "item", "--reject"],
        &["submit-screen", "item", "--approve", "--abstain"],
        &["reassign", "item", "--to", "team:x"],
        &["reassign", "item"],
        &["override", "approve", "item"],
        &["override", "approve", "item", "--submission", "s1", "--step", "x", "--comment", "c"],
        &["send-back", "item", "--to", "draft"],
        &["delegate", "--to", "carol"],
        &["delegate", "--until", "2026-12-15"],
        &["delete", "delegation"],
        &["reject", "item"],
        &["approve"],
        &["submit", "p", "--record-id", "1"],
        &["submit", "p", "--record-id", "1", "--data", "{}", "--choose", "manager"],
        &["submit", "p", "--record-id", "1", "--data", "{}", "--choose", "manager=bob,"],
        &["list", "submissions", "--page-size", "501"],
        &["explain", "s1", "--step", "a", "--item", "b"],
        &["preview", "--data", "{}"],
        &["migrate-submission", "s1", "--map-stage", "review"],
        &["bench", "--workload", "w1", "--rate", "5", "--concurrency", "5"],
        &["bench", "--workload", "w4"],
        &["token", "create", "--user", "erp", "--database-url", "sqlite:q.db"],
        &["serve", "--database-url", "sqlite:q.db", "--tls-cert", "c.pem"],
    ];
    for arguments in wrong {
        let error = Cli::try_parse_from([&["quorate"], arguments].concat()).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn global_options_stand_before_or_behind_the_command() {
    let cli = Cli::try_parse_from(["quorate", "inbox", "-o", "json", "--timeout", "500ms"]).unwrap();
    assert_eq!(cli.global.output, cli::output::Format::Json);
    assert_eq!(cli.global.timeout, Duration::from_millis(500));
    assert!(Cli::try_parse_from(["quorate", "validate", "-f", "a.yaml", "b", "-f", "c"]).is_ok());
}

#[test]
fn durations_need_a_unit() {
    assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
    assert!(parse_duration("30").is_err());
    assert!(parse_duration("-3s").is_err());
}

#[test]
fn no_help_shows_a_secret() {
    let mut command = Cli::command();
    command.build();
    let mut pending = vec![&command];
    while let Some(command) = pending.pop() {
        for argument in command.get_arguments() {
            let name = argument.get_long().unwrap_or_default();
            if argument.get_env().is_some() && (name.contains("token") || name.ends_with("-url")) {
                assert!(argument.is_hide_env_values_set(), "--{name} of {}", command.get_name());
            }
        }
        pending.extend(command.get_subcommands());
    }
}

#[test]
fn every_command_and_variable_is_documented() {
    let document = include_str!("../../docs/cli.md");
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(document.contains(&format!("`quorate {name}")), "docs/cli.md lacks {name}");
        for variable in command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()) {
            assert!(document.contains(&format!("`{variable}`")), "docs/cli.md lacks {variable}");
        }
    }
    let codes = cli::EXIT_CODES.lines().filter_map(|line| line.split_whitespace().next()?.parse::<u8>().ok());
    for code in codes {
        assert!(document.contains(&format!("\n| {code} | ")), "docs/cli.md lacks exit code {code}");
    }
}

#[tokio::test]
async fn submit_gives_the_id_and_the_status() {
    let (fake, server) = Fake::start().await;
    let ran = submit(&server).await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "submission s1: IN_PROGRESS\n"), "{ran:?}");
    assert_eq!(fake.only().submitter, "ann");
}

#[tokio::test]
async fn a_lost_answer_submits_nothing_twice() {
    let (fake, server) = Fake::start().await;
    fake.lost_answers.store(2, Ordering::SeqCst);
    let ran = submit(&server).await;
    assert_eq!((ran.code, fake.count()), (0, 1), "{ran:?}");
    fake.lost_answers.store(3, Ordering::SeqCst);
    let ran = submit(&server).await;
    assert_eq!((ran.code, ran.err.as_str()), (3, "error: try again\n"), "three attempts are enough");
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn submit_wait_says_by_the_exit_code_how_it_ended() {
    for (verb, code, end) in [("approve", 0, "APPROVED"), ("reject", 10, "REJECTED")] {
        let (fake, server) = Fake::start().await;
        let arguments = ["submit", "p", "--record-id", "PR-1", "--data", "{}", "--wait", "-o", "json"];
        // The stream breaks on the way, and nobody notices.
        fake.broken_streams.store(1, Ordering::SeqCst);
        let deciding = async {
            while fake.count() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            run_as("bob", &server, &[verb, "item-s1", "--comment", "I looked"]).await
        };
        let (waited, decided) = tokio::join!(run_as("ann", &server, &arguments), deciding);
        assert_eq!(decided.code, 0, "{decided:?}");
        assert_eq!(decided.out, format!("item-s1: {end}; submission s1: {end}\n"));
        assert_eq!(waited.code, code, "{waited:?}");
        assert_eq!(waited.json()["status"], format!("SUBMISSION_STATUS_{end}"));
        assert_eq!(waited.err, "");
    }
}

#[tokio::test]
async fn watch_tells_each_change_once() {
    let (fake, server) = Fake::start().await;
    submit(&server).await;
    fake.broken_streams.store(1, Ordering::SeqCst);
    let recalling = async {
        while !fake.is_watched("s1") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run_as("ann", &server, &["recall", "s1"]).await
    };
    let (watched, recalled) = tokio::join!(run_as("ann", &server, &["watch", "s1", "--exit-status"]), recalling);
    assert_eq!(recalled.out, "submission s1: RECALLED\n");
    assert_eq!(watched.code, 11, "{watched:?}");
    let lines: Vec<_> = watched.out.lines().collect();
    assert_eq!(lines.len(), 7, "{lines:#?}");
    assert_eq!(lines[0], "2026-11-22T10:00:00Z  IN_PROGRESS  purchase-request version 1: submitted by ann");
    assert_eq!(lines[6], "2026-11-22T10:00:05Z  RECALLED  submission: RECALLED");
    let again = run_as("ann", &server, &["watch", "s1", "-o", "json"]).await;
    assert_eq!((again.code, again.out.lines().count()), (0, 1));
    assert_eq!(again.json()["record"]["data"]["amount"].to_string(), "50");
}

#[tokio::test]
async fn an_administrator_suspends_resumes_and_sends_elsewhere() {
    let (_, server) = Fake::start().await;
    submit(&server).await;
    assert_eq!(run_as("admin", &server, &["suspend", "s1"]).await.out, "submission s1: SUSPENDED\n");
    let gone = run_as("admin", &server, &["go-to", "s1", "book", "--comment", "it is urgent", "-o", "json"]).await;
    assert_eq!(gone.json()["stages"][0]["name"], "book");
    assert_eq!(run_as("admin", &server, &["resume", "s1"]).await.out, "submission s1: IN_PROGRESS\n");
    assert_eq!(run_as("admin", &server, &["suspend", "s2"]).await.code, 4);
}

#[tokio::test]
async fn a_preview_is_a_plan_that_a_person_can_read() {
    let (_, server) = Fake::start().await;
    let arguments =
        ["preview", "purchase", "--data", r#"{"amount": 5}"#, "--by", "carol", "--output-of", r#"check={"ok": true}"#];
    assert_eq!(
        run_as("ann", &server, &arguments).await.out,
        "carol is asked\nbob approved (assumed)\n\
         step board would not start, since this does not hold: start: when check: {\"amount\":5}\nit would be APPROVED\n"
    );
}

#[tokio::test]
async fn explanations_are_lines_that_a_person_can_read() {
    let (_, server) = Fake::start().await;
    submit(&server).await;
    let told = run_as("ann", &server, &["explain", "s1", "--step", "manager"]).await;
    assert_eq!(told.out, "2026-11-22T10:00:01Z  step manager started, because it had to\n");
    assert_eq!(run_as("ann", &server, &["explain", "s9"]).await.code, 4);
}

#[tokio::test]
async fn a_move_to_another_version_can_be_tried_first() {
    let (fake, server) = Fake::start().await;
    submit(&server).await;
    let arguments = ["migrate-submission", "s1", "--to-version", "2", "--map-stage", "review=examine"];
    let tried = run_as("admin", &server, &[&arguments[..], &["--dry-run"]].concat()).await;
    let lines: Vec<_> = tried.out.lines().collect();
    assert_eq!(lines[0], "submission s1 would be on version 2: IN_PROGRESS");
    assert!(lines[2].contains("SUBMISSION_MIGRATED"), "{lines:#?}");
    assert_eq!(fake.only().process_version, 1);
    let moved = run_as("admin", &server, &arguments).await;
    assert_eq!(moved.out, "submission s1 is on version 2: IN_PROGRESS\n");
    assert_eq!((fake.only().process_version, fake.only().stages[0].name.as_str()), (2, "examine"));
}

#[tokio::test]
async fn a_reviewer_sees_the_inbox_and_decides() {
    let (fake, server) = Fake::start().await;
    submit(&server).await;
    let inbox = run_as("bob", &server, &["inbox"]).await;
    assert_eq!(
        inbox.out,
        "ITEM     PROCESS           SUMMARY                SUBMITTER  ASSIGNED TO  SINCE                 DUE\n\
         item-s1  purchase-request  purchase_request/PR-1  ann        user:bob     2026-11-22T10:00:01Z\n"
    );
    let stale = run_as("bob", &server, &["approve", "item-s1", "--record-digest", "d0"]).await;
    assert_eq!(
        (stale.code, stale.err.as_str()),
        (1, "error: the record has changed\n  reason: RECORD_CHANGED\n  digest: d1\n")
    );
    let approved = run_as("bob", &server, &["approve", "item-s1", "-o", "json"]).await;
    assert_eq!(approved.json()["work_item"]["decision"]["actor"], "bob");
    assert_eq!(approved.json()["work_item"]["decision"]["channel"], "CLI");
    assert_eq!(fake.only().status(), SubmissionStatus::Approved);
    let twice = run_as("carol", &server, &["reject", "item-s1", "--comment", "no"]).await;
    assert_eq!(twice.code, 1);
    assert_eq!(twice.err, "error: the work item has been decided\n  reason: ALREADY_DECIDED\n  decided_by: bob\n");
}

#[tokio::test]
async fn work_items_are_claimed_passed_on_asked_about_and_sent_back() {
    let (fake, server) = Fake::start().await;
    submit(&server).await;
    let claimed = run_as("bob", &server, &["claim", "item-s1"]).await;
    assert_eq!(claimed.out, "item-s1: user:bob, claimed by bob until 2026-11-22T10:00:09Z\n");
    let inbox = run_as("bob", &server, &["inbox"]).await;
    assert!(inbox.out.contains("user:bob, claimed by bob until 2026-11-22T10:00:09Z"), "{inbox:?}");
    assert_eq!(run_as("bob", &server, &["release", "item-s1"]).await.out, "item-s1: user:bob\n");
    let reassigned = run_as("bob", &server, &["reassign", "item-s1", "--to", "group:finance", "--comment", "x"]).await;
    assert_eq!(reassigned.out, "item-s1: group:finance\n");
    let reassigned = run_as("bob", &server, &["reassign", "item-s1", "--to", "carol", "-o", "json"]).await;
    assert_eq!(reassigned.json()["assignee"]["kind"], "ASSIGNEE_KIND_USER");
    let asked = run_as("carol", &server, &["ask", "item-s1", "Which cost center?"]).await;
    assert_eq!(asked.out, "item-s1: user:carol, question of carol: Which cost center?\n");
    let answered = run_as("ann", &server, &["answer", "item-s1", "4711", "-o", "json"]).await;
    assert_eq!(answered.json()["questions"][0]["answer"], "4711");
    let back = ["send-back", "item-s1", "--to", "draft", "--comment", "clause 4 is missing"];
    let back = run_as("carol", &server, &back).await;
    assert_eq!(back.out, "submission s1: sent back to draft; IN_PROGRESS\n");
    assert_eq!(fake.only().stages[0].sent_back.as_ref().unwrap().comment, "clause 4 is missing");
    assert_eq!(run_as("bob", &server, &["claim", "item-s9"]).await.code, 4);
}

#[tokio::test]
async fn a_screen_is_shown_and_submitted() {
    let (_, server) = Fake::start().await;
    submit(&server).await;
    let shown = run_as("bob", &server, &["get", "screen", "item-s1"]).await;
    let told = "purchase-review version 2\n\nThe purchase\n  Is the vendor known?\n  Vendor: \"ACME\"\n";
    assert_eq!(shown.out, format!("{told}  cost_center (Cost center) = \"4711\"\n"));
    let shown = run_as("bob", &server, &["get", "screen", "item-s1", "-o", "json"]).await;
    assert_eq!(shown.json()["pages"][0]["shown"][0]["value"], "ACME");
    let unfit = run_as("bob", &server, &["submit-screen", "item-s1", "--approve", "--values", "{}"]).await;
    assert_ne!(unfit.code, 0);
    let values = r#"{"cost_center": "4711"}"#;
    let submitted = run_as("bob", &server, &["submit-screen", "item-s1", "--approve", "--values", values]).await;
    assert_eq!(submitted.out, "item-s1: APPROVED; submission s1: APPROVED\n");
}

#[tokio::test]
async fn a_step_is_overridden_by_an_item_or_by_its_name() {
    let (_, server) = Fake::start().await;
    submit(&server).await;
    submit(&server).await;
    let by_item = run_as("admin", &server, &["override", "approve", "item-s1", "--comment", "it is urgent"]).await;
    assert_eq!(by_item.out, "step manager: overridden; submission s1: APPROVED\n");
    let by_name = ["override", "reject", "--submission", "s2", "--step", "manager", "--comment", "it is not"];
    assert_eq!(run_as("admin", &server, &by_name).await.out, "step manager: overridden; submission s2: REJECTED\n");
}

#[tokio::test]
async fn a_record_is_given_other_data() {
    let (fake, server) = Fake::start().await;
    submit(&server).await;
    let data = ["update-record", "s1", "--data", r#"{"amount": 70}"#, "--comment", "a better offer"];
    let updated = run_as("ann", &server, &data).await;
    assert_eq!((updated.code, updated.out.as_str()), (0, "submission s1: IN_PROGRESS\n"), "{updated:?}");
    let record = fake.only().record.unwrap();
    assert_eq!((record.version, fake.only().comment.as_str()), (2, "a better offer"));
    let unknown = run_as("ann", &server, &["update-record", "s9", "--data", "{}"]).await;
    assert_eq!(unknown.code, 4, "{unknown:?}");
}

#[tokio::test]
async fn a_change_of_a_record_is_told_with_what_it_came_to() {
    let (_, server) = Fake::start().await;
    let report = ["report-change", "order", "7", "--data", "{}", "--source-version", "3", "--on-behalf-of", "eve"];
    let told = run_as("erp", &server, &report).await;
    let expected = "\
PROCESS          SUBMISSION  OUTCOME    REASON             MESSAGE
order            s-7-3       SUBMITTED
Updated for eve              REFUSED    EXPRESSION_FAILED  no such field
";
    assert_eq!((told.code, told.out.as_str()), (0, expected), "{told:?}");
    let json = run_as("erp", &server, &[&report[..], &["--kind", "created", "-o", "json"]].concat()).await.json();
    assert_eq!(json["effects"][1]["process"], "Created for eve");
    let nobody = run_as("erp", &server, &["report-change", "note", "1", "--data", "{}"]).await;
    assert_eq!((nobody.code, nobody.out.as_str()), (0, "nothing waits for this record\n"));
    assert_eq!(run_as("erp", &server, &["report-change", "note", "1", "--data", "[]"]).await.code, 2);
}

#[tokio::test]
async fn who_has_locked_a_record_is_told() {
    let (_, server) = Fake::start().await;
    let told = run_as("erp", &server, &["get", "lock", "quote", "1", "--for", "eve"]).await;
    let expected = "\
HELD BY                SINCE                 UNTIL  REASON                       SUBMISSION
step manager of order  2027-01-15T08:00:00Z         those whom it asks may edit  s1
eve may edit it
";
    assert_eq!((told.code, told.out.as_str()), (0, expected), "{told:?}");
    let bob = run_as("erp", &server, &["get", "lock", "quote", "1", "--for", "bob"]).await;
    assert!(bob.out.ends_with("bob may not edit it\n"), "{bob:?}");
    let free = run_as("erp", &server, &["get", "lock", "quote", "2", "-o", "json"]).await.json();
    assert_eq!(free["may_edit"], true, "{free}");
    let lock = ["lock", "quote", "2", "--holder", "migration", "--until", "2027-01-15T08:00:00Z"];
    let locked = run_as("erp", &server, &lock).await;
    assert_eq!((locked.code, locked.out.as_str()), (0, "locked until 2027-01-15T08:00:00Z\n"), "{locked:?}");
    assert_eq!(run_as("erp", &server, &lock[..5]).await.out, "locked\n");
    assert_eq!(
        run_as("erp", &server, &["unlock", "quote", "1", "--holder", "m"]).await.out,
        "unlocked; others hold it still\n"
    );
    assert_eq!(run_as("erp", &server, &["unlock", "quote", "2", "--holder", "m"]).await.out, "unlocked\n");
}

#[tokio::test]
async fn several_items_are_decided_each_for_itself() {
    let (_, server) = Fake::start().await;
    for _ in 0..3 {
        submit(&server).await;
    }
    run_as("bob", &server, &["approve", "item-s2"]).await;
    let ran = run_as("bob", &server, &["approve", "item-s1", "item-s2", "item-s9", "item-s3"]).await;
    assert_eq!(ran.code, 1, "one that is refused makes the whole fail");
    assert_eq!(
        ran.out,
        "item-s1: APPROVED\n\
         item-s2: refused: ALREADY_DECIDED: the work item has been decided\n\
         item-s9: refused: NOT_FOUND: there is no work item item-s9\n\
         item-s3: APPROVED\n"
    );
    let digests = run_as("bob", &server, &["approve", "item-s1", "item-s2", "--record-digest", "d1"]).await;
    assert_eq!(digests.code, 2);
}

#[tokio::test]
async fn errors_are_printed_and_told_by_the_exit_code() {
    let (_, server) = Fake::start().await;
    let wrong = run_as("ann", &server, &["submit", "p", "--record-id", "1", "--data", r#"{"wrong": 1}"#]).await;
    assert_eq!(wrong.code, 1);
    assert_eq!(
        wrong.err,
        "error: the record does not meet the schema of the process\n  reason: RECORD_INVALID\n  field record.data.amount: is required, \
         and must be a number\n"
    );
    assert_eq!(run_as("ann", &server, &["get", "submission", "s9"]).await.code, 4);
    assert_eq!(run_as("ann", &server, &["watch", "s9"]).await.code, 4);
    submit(&server).await;
    assert_eq!(run_as("ann", &server, &["cancel", "s1"]).await.code, 5);
    let nowhere = run_as("ann", "http://127.0.0.1:1", &["inbox"]).await;
    assert_eq!(nowhere.code, 3);
    assert!(nowhere.err.ends_with("is the server running? start one with: quorate dev\n"), "{nowhere:?}");
    assert_eq!(run_as("ann", "not a url", &["inbox"]).await.code, 2);
}

#[tokio::test]
async fn a_token_says_who_calls() {
    let (fake, server) = Fake::start().await;
    let arguments = ["submit", "p", "--record-id", "1", "--data", "{}"];
    run_as("ann", &server, &[&arguments[..], &["--token", "t0ken"]].concat()).await;
    assert_eq!(fake.only().submitter, "tom");
    let wrong = run_as("ann", &server, &[&arguments[..], &["--token", "other"]].concat()).await;
    assert_eq!(wrong.code, 5);
    assert!(!wrong.err.contains("other"));
}

#[tokio::test]
async fn lists_say_that_there_is_more_and_all_fetches_it() {
    let (_, server) = Fake::start().await;
    for _ in 0..5 {
        submit(&server).await;
    }
    let page = run_as("ann", &server, &["list", "submissions", "--page-size", "2"]).await;
    assert_eq!((page.out.lines().count(), page.err.as_str()), (3, "there are more: --all lists them\n"));
    let all = run_as("ann", &server, &["list", "submissions", "--page-size", "2", "--all", "-o", "json"]).await;
    assert_eq!((all.json().as_array().unwrap().len(), all.err.as_str()), (5, ""));
    let shown = run_as("ann", &server, &["get", "submission", "s1", "s2"]).await;
    assert_eq!(shown.out.matches("user:bob").count(), 2, "{shown:?}");
    assert!(shown.out.contains(r#"data       {"amount":50}"#), "{}", shown.out);
    let yaml = run_as("ann", &server, &["get", "submission", "s1", "-o", "yaml"]).await;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml.out).unwrap()["id"], "s1");
}

#[tokio::test]
async fn apply_stores_what_is_new_and_says_what_is_unchanged() {
    let (_, server) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, "kind: ApprovalProcess\nname: order\n---\nkind: Flow\nname: book\n").unwrap();
    let apply = ["apply", "-f", path.to_str().unwrap()];
    let first = run_as("ann", &server, &apply).await;
    assert_eq!((first.code, first.out.as_str()), (0, "flow book: version 1 active\nprocess order: version 1 active\n"));
    fs::write(&path, "\n\nkind: ApprovalProcess\nname: order\ntitle: ODD\n---\n\nkind: Flow\nname: book\n").unwrap();
    let second = run_as("ann", &server, &apply).await;
    assert_eq!(second.out, "flow book: unchanged (version 1)\nprocess order: version 2 active\n");
    assert!(second.err.ends_with("a.yaml:5:8: warning: this is odd\n"), "{second:?}");
    let third = run_as("ann", &server, &[&apply[..], &["-o", "json"]].concat()).await;
    assert_eq!(third.json()[1]["changed"], false);
}

#[tokio::test]
async fn complaints_come_at_their_places_and_nothing_bad_is_stored() {
    let (_, server) = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    let file = path.to_str().unwrap();
    let good = "kind: ApprovalProcess\nname: good\n";
    fs::write(&path, format!("{good}---\nkind: ApprovalProcess\nname: order\ntitle: BAD\n")).unwrap();
    let validated = run_as("ann", &server, &["validate", "-f", file]).await;
    assert_eq!(validated.code, 1);
    assert_eq!(validated.out, format!("process good: valid\n{file}:6:8: this is bad\n"));
    let applied = run_as("ann", &server, &["apply", "-f", file]).await;
    assert_eq!((applied.code, applied.out.as_str(), applied.err), (1, "", format!("{file}:6:8: this is bad\n")));
    assert_eq!(run_as("ann", &server, &["get", "process", "good"]).await.code, 4);
    fs::write(&path, format!("{good}---\n\nkind: Flow\nname: book\ntitle: BAD\n")).unwrap();
    let flow = run_as("ann", &server, &["apply", "-f", file]).await;
    assert_eq!((flow.code, flow.err), (1, format!("{file}:7:8: this is bad\n")));
}

#[tokio::test]
async fn health_is_0_or_1() {
    let (_, server) = Fake::start().await;
    let healthy = run_as("ann", &server, &["health"]).await;
    assert_eq!((healthy.code, healthy.out.as_str()), (0, "SERVING\n"));
    assert_eq!(run_as("ann", &server, &["health", "--service", "absent"]).await.code, 1);
    assert_eq!(run_as("ann", "http://127.0.0.1:1", &["health"]).await.code, 1);
}

/// A process with a test that holds and one that does not.
const TESTED: &str = "apiVersion: quorate/v1
kind: Directory
users: [{ name: ann, manager: bob }, { name: bob }]
---
apiVersion: quorate/v1
kind: ApprovalProcess
name: order
record: { type: order }
stages: [{ name: review, steps: [{ name: manager, approval: { assign: [{ manager_of: submission.submitter }] } }] }]
tests:
  - { name: bob is asked, submit: { by: ann, record: {} }, expect: { status: IN_PROGRESS } }
  - { name: ann is done, submit: { by: ann, record: {} }, expect: { status: APPROVED } }
";

#[tokio::test]
async fn tests_of_processes_need_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("order.yaml");
    let file = path.to_str().unwrap();
    fs::write(&path, TESTED).unwrap();
    let test = |arguments: &'static [&'static str]| {
        let all: Vec<_> = ["test", "-f", file].iter().chain(arguments).map(|text| (*text).to_owned()).collect();
        async move { run_as("ann", "http://127.0.0.1:1", &all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let all = test(&[]).await;
    let expected = format!(
        "ok      order: bob is asked
FAILED  order: ann is done
  {file}:12: it does not stand as expected
            expected  got
    status  APPROVED  IN_PROGRESS
  how it stood:
    submission IN_PROGRESS, round 1
      stage review IN_PROGRESS
        step manager IN_PROGRESS
          user:bob ASSIGNED
1 passed, 1 failed
"
    );
    assert_eq!((all.code, all.out, all.err), (1, expected, String::new()));
    let one = test(&["--test", "bob", "--process", "order"]).await;
    assert_eq!((one.code, one.out.as_str()), (0, "ok      order: bob is asked\n1 passed, 0 failed\n"));
    let told = test(&["-o", "json"]).await;
    let told = (told.code, told.json());
    assert_eq!((told.0, &told.1[0]["passed"], &told.1[1]["line"]), (1, &true.into(), &12.into()), "{told:?}");
    assert_eq!(told.1[1]["differences"][0]["got"], "IN_PROGRESS");
    let none = test(&["--test", "eve"]).await;
    assert_eq!((none.code, none.out.as_str()), (2, "0 passed, 0 failed\n"), "{none:?}");
    fs::write(&path, TESTED.replace("by: ann", "on_behalf_of: eve, by: ann")).unwrap();
    let unread = test(&[]).await;
    assert_eq!(unread.code, 2);
    assert!(unread.err.starts_with(&format!("{file}:11:")) && unread.err.contains("no user `eve`"), "{unread:?}");
}

#[tokio::test]
async fn completions_need_no_server() {
    let ran = run_as("ann", "http://127.0.0.1:1", &["completions", "bash"]).await;
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("quorate"));
}

#[tokio::test]
async fn bench_measures_both_ways() {
    let (_, server) = Fake::start().await;
    let times = ["--duration", "300ms", "--warmup", "50ms", "--drain", "2s", "-o", "json"];
    let closed = ["bench", "--workload", "w1", "--concurrency", "2"];
    let report = run_as("ann", &server, &[&closed[..], &times[..]].concat()).await.json();
    assert_eq!((&report["errors"], &report["submitted"]), (&Value::from(0), &report["completed"]), "{report}");
    assert!(report["completed_per_second"].as_f64().unwrap() > 0.0, "{report}");
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() >= 2.0, "each takes 2 ms at least: {report}");
    let open = ["bench", "--workload", "w1", "--rate", "100"];
    let report = run_as("ann", &server, &[&open[..], &times[..]].concat()).await.json();
    assert_eq!((&report["submitted"], &report["errors"]), (&Value::from(30), &Value::from(0)), "{report}");
}
