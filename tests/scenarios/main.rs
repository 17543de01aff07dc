//! The scenarios of `engine/tests/scenarios/` once more, through the gRPC API of a whole server, on both stores.
//!
//! Each run plays some, chosen at random; with `QUORATE_LONG` all of them. `QUORATE_SEED` chooses the same ones again, and
//! `QUORATE_ONLY` those whose file and title have this text in them. Needs the servers that `scripts/test.sh` starts.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stdout, reason = "whoever reads a failure needs the seed")]

mod calls;
mod client;
mod server;
mod shown;
mod told;

#[path = "../../engine/tests/support/expectation.rs"]
mod expectation;
#[allow(dead_code, reason = "those that need a refusal as the rules give it are checked where these decide")]
#[path = "../../engine/tests/support/invariants.rs"]
mod invariants;
#[path = "../../engine/tests/support/play.rs"]
mod play;
#[path = "../../engine/tests/support/script.rs"]
mod script;
#[allow(dead_code, reason = "here the server decides")]
#[path = "../../engine/tests/support/world.rs"]
mod world;

use std::{
    any::Any,
    collections::BTreeMap,
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Mutex,
    thread,
    time::Instant,
};

use client::Client;
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use script::{Scenario, Script, Token};
use server::{Server, StoreKind};

/// How many scenarios a run plays on each of the two stores.
const PLAYS_PER_STORE: usize = 110;

/// How many servers of one store play at the same time, each with a clock of its own.
const SERVERS_PER_STORE: usize = 2;

/// The scenarios that cannot be played by what a client can call, each with the reason.
const NOT_PLAYED: &[(&str, &[&str])] = &[
    (
        "a change is brought to submissions under way only",
        &["on the way to its end a submission takes no change, and after it neither (rejection_path)"],
    ),
    ("each call of Submit begins another submission", &["a submission that there is is not made again (a_user)"]),
    (
        "no call retires a calendar",
        &[
            "a step without an active calendar meets an error, and is retried (due)",
            "a calendar that nothing is counted in is not needed (without_business_time)",
        ],
    ),
    (
        "no call retires a flow",
        &[
            "a flow without an active version is the step's error (inactive_flow)",
            "so is a flow without an active version (not_active)",
            "a step binds its screen flow when it starts: without an active version it is in error (not_active)",
        ],
    ),
    (
        "submissions have ids of the server's choice",
        &[
            "only steps that depend on what has changed are asked again; what stands completes by itself, and says by whom (dismiss_affected)",
        ],
    ),
];

#[test]
fn every_scenario_goes_the_same_way_through_the_api() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/scenarios");
    let people = fs::read_to_string(folder.join("people.yaml")).unwrap();
    let scripts = scripts(&folder);
    let (playable, left_out) = playable(&scripts);
    let expected = NOT_PLAYED.iter().map(|(reason, titles)| (*reason, titles.to_vec())).collect::<BTreeMap<_, _>>();
    for (reason, titles) in &left_out {
        println!("not played, as {reason}: {}", titles.len());
    }
    assert_eq!(left_out, expected, "the scenarios that are not played are not those that are known");

    let seed: u64 = env::var("QUORATE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let only = env::var("QUORATE_ONLY").ok();
    let all = env::var_os("QUORATE_LONG").is_some() || only.is_some();
    let mut chance = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let played = Mutex::new(0);
    let complaints = Mutex::new(Vec::new());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    thread::scope(|scope| {
        for store in [StoreKind::Sqlite, StoreKind::Postgres] {
            let mut chosen = playable.clone();
            chosen.shuffle(&mut chance);
            if !all {
                chosen.truncate(PLAYS_PER_STORE);
            }
            chosen.retain(|(script, scenario)| {
                only.as_ref().is_none_or(|only| format!("{} {}", script.file, scenario.title).contains(only))
            });
            let share = chosen.len().div_ceil(SERVERS_PER_STORE).max(1);
            for share in chosen.chunks(share) {
                let (share, people, runtime) = (share.to_vec(), people.as_str(), runtime.handle().clone());
                let (played, complaints) = (&played, &complaints);
                scope.spawn(move || {
                    let server = Server::start(store, runtime);
                    for (script, scenario) in share {
                        let outcome = play(&server, script, scenario, people);
                        *played.lock().unwrap() += 1;
                        if let Err(complaint) = outcome {
                            let title = &scenario.title;
                            let told = format!("{}:{} `{title}`, {store:?}:\n{complaint}", script.file, scenario.line);
                            complaints.lock().unwrap().push(told);
                        }
                    }
                    server.stop();
                });
            }
        }
    });
    let (played, complaints) = (played.into_inner().unwrap(), complaints.into_inner().unwrap());
    println!("{played} plays with QUORATE_SEED={seed} in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(
        complaints.is_empty(),
        "{} of {played} plays with QUORATE_SEED={seed}:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
    assert!(only.is_some() || played >= 200, "only {played} scenarios were played");
}

/// Plays one on a server; a panic is a complaint as well.
fn play(server: &Server, script: &Script, scenario: &Scenario, people: &str) -> Result<(), String> {
    let mut client = Client::new(server);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        let world = play::play(script, scenario, people, &mut client)?;
        client.compare_what_is_listed(&world);
        Ok(())
    }));
    let outcome = outcome.unwrap_or_else(|panic| Err(said(&*panic)));
    client.leave();
    outcome
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

fn scripts(folder: &Path) -> Vec<Script> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .filter(|path| path.file_stem().is_some_and(|name| name != "decision_rules"))
        .collect();
    files.sort();
    let parse = |path: &std::path::PathBuf| {
        let file = path.file_name().unwrap().to_str().unwrap();
        Script::parse(file, &fs::read_to_string(path).unwrap()).unwrap()
    };
    files.iter().map(parse).collect()
}

type Playable<'a> = Vec<(&'a Script, &'a Scenario)>;

/// The scenarios that can be played, and the titles of the others by the reason why not.
fn playable(scripts: &[Script]) -> (Playable<'_>, BTreeMap<&str, Vec<&str>>) {
    let mut playable = Vec::new();
    let mut left_out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for script in scripts {
        for scenario in &script.scenarios {
            match why_not(script, scenario) {
                None => playable.push((script, scenario)),
                Some(reason) => left_out.entry(reason).or_default().push(&scenario.title),
            }
        }
    }
    (playable, left_out)
}

/// Why a scenario cannot be played, where it cannot.
fn why_not(script: &Script, scenario: &Scenario) -> Option<&'static str> {
    let gone = script.flows.iter().filter(|(_, said)| said.trim() == "not active");
    let text = &script.texts[&scenario.process];
    let named = |name: &str| ["flow", "screen"].iter().any(|field| text.contains(&format!("{field}: {name}")));
    if gone.into_iter().any(|(name, _)| named(name)) {
        return Some("no call retires a flow");
    }
    let says =
        |tokens: &[Token], words: &[&str]| tokens.iter().map(Token::text).take(words.len()).eq(words.iter().copied());
    let without_effect =
        |turn: &script::Turn| turn.expectations.iter().any(|(_, said)| says(said, &["nothing", "happens"]));
    if scenario.turns.iter().any(|turn| says(&turn.command, &["submit"]) && without_effect(turn)) {
        return Some("each call of Submit begins another submission");
    }
    let names_id = |token: &Token| token.text().contains("ffffffff-ffff");
    if scenario.turns.iter().any(|turn| turn.expectations.iter().any(|(_, tokens)| tokens.iter().any(names_id))) {
        return Some("submissions have ids of the server's choice");
    }
    scenario.turns.iter().find_map(|turn| {
        let words: Vec<&str> = turn.command.iter().map(Token::text).collect();
        match words[..] {
            [_, "reports", ..]
                if turn.expectations.iter().any(|(_, said)| says(said, &["refused", "SUBMISSION_ENDED"])) =>
            {
                Some("a change is brought to submissions under way only")
            }
            ["calendar", _, "is", "closed"] => Some("no call retires a calendar"),
            _ => None,
        }
    })
}
