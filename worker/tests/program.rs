//! The stock worker as a program: its flags and its exit codes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate-worker"));
    // Whatever the environment of the test run holds, these tests say all.
    command.env_remove("QUORATE_AMQP_URL").env_remove("QUORATE_SERVER").args(arguments).output().unwrap()
}

#[test]
fn every_flag_and_variable_is_documented() {
    let document = include_str!("../../docs/workers.md");
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let words = help.split(|letter: char| letter.is_whitespace() || "[]=,;()".contains(letter));
    let mut seen = 0;
    for word in words.filter(|word| word.starts_with("--") || word.starts_with("QUORATE_")) {
        if !["--help", "--version"].contains(&word) {
            assert!(document.contains(&format!("`{word}")), "{word} is missing in docs/workers.md");
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} flags and variables were found in the help");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (arguments, complaint) in [
        (&[][..], "Give --amqp-url or --server"),
        (
            &["--amqp-url", "amqp://h", "--server", "http://h"],
            "(QUORATE_AMQP_URL) and --server (QUORATE_SERVER) exclude each other",
        ),
        (&["--amqp-url", "http://h"], "has to begin with amqp://"),
        (&["--server", "amqp://h"], "has to begin with http://"),
        (&["--server", "http://h", "--serve", "budget"], "NAME=BUILTIN"),
        (&["--server", "http://h", "--default", "budget"], "no built-in flow"),
        (&["--server", "http://h", "--concurrency", "0"], "1 to 1000"),
        (&["--server", "http://h", "--task-queue", "a,B"], "`B`"),
        (&["--server", "http://h", "--task-queue", "erp=0"], "`erp` has to be 1 to 1000, not 0"),
        (&["--server", "http://h", "--task-queue", "erp=many"], "has to be 1 to 1000"),
        (&["--server", "http://h", "--task-queue", "erp=4@10"], "`10` is no rate: write 10/s"),
        (&["--server", "http://h", "--task-queue", "erp@0/s"], "`0/s` is no rate"),
        (&["--server", "https://h", "--ca-file", "/no/such/file"], "/no/such/file"),
        (&["--server", "http://h", "--allow-network", "10.0.0.0"], "`10.0.0.0` is no network"),
        (&["--server", "http://h", "--deny-network", "10.0.0.0"], "`10.0.0.0` is no network"),
        (&["--server", "http://h", "--bind-secret", "erp_token"], "NAME=HOST"),
        (&["--server", "http://h", "--bind-secret", "erp_token=https://h/"], "without scheme and port"),
        (&["--server", "http://h", "--smtp-url", "http://h"], "smtp:// or smtps://"),
        (&["--server", "http://h", "--smtp-url", "smtp://user:password@h"], "given apart"),
        (&["--server", "http://h", "--smtp-url", "smtp://h", "--mail-from", "nobody"], "no address"),
        (&["--server", "http://h", "--smtp-url", "smtp://h", "--smtp-user", "me"], "--smtp-password-file"),
        (
            &[
                "--server",
                "http://h",
                "--smtp-url",
                "smtp://h",
                "--smtp-user",
                "me",
                "--smtp-password-file",
                "/no/such/file",
            ],
            "/no/such/file",
        ),
    ] {
        let output = run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(complaint), "{arguments:?}: {text}");
    }
}
