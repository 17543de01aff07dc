//! The text of a file of scenarios: definitions, then scenarios of commands and what is expected after each.

use std::collections::BTreeMap;

use quorate_engine::definition::{Process, read_process};

pub(crate) struct Script {
    pub(crate) file: String,
    pub(crate) processes: BTreeMap<String, Process>,
    /// The processes as they are published.
    pub(crate) texts: BTreeMap<String, String>,
    /// What is said of flows; of those that are only named, nothing is.
    pub(crate) flows: BTreeMap<String, String>,
    /// The texts of the calendars.
    pub(crate) calendars: Vec<String>,
    pub(crate) scenarios: Vec<Scenario>,
}

pub(crate) struct Scenario {
    pub(crate) line: usize,
    pub(crate) title: String,
    pub(crate) process: String,
    pub(crate) turns: Vec<Turn>,
}

/// A command, and what is expected after it.
pub(crate) struct Turn {
    pub(crate) line: usize,
    pub(crate) command: Vec<Token>,
    pub(crate) expectations: Vec<(usize, Vec<Token>)>,
}

/// A word, or a text in quotes or braces that is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Quoted(String),
    Json(String),
    /// `;` or `,` between expectations or events.
    Separator(char),
}

impl Script {
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, String> {
        let mut script = Self {
            file: file.to_owned(),
            processes: BTreeMap::new(),
            texts: BTreeMap::new(),
            flows: BTreeMap::new(),
            calendars: Vec::new(),
            scenarios: Vec::new(),
        };
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with('#')).peekable();
        while let Some((number, line)) = lines.next() {
            let at = |message: String| format!("{file}:{number}: {message}");
            if line.trim().is_empty() {
                continue;
            }
            if let Some(title) = line.strip_prefix("== ") {
                let process = script.process_of(title).map_err(at)?;
                script.scenarios.push(Scenario { line: number, title: title.to_owned(), process, turns: Vec::new() });
                continue;
            }
            let tokens = tokens(line).map_err(at)?;
            if line.starts_with(' ') {
                let turn = script.scenarios.last_mut().and_then(|scenario| scenario.turns.last_mut());
                let turn = turn.ok_or_else(|| at("there is no command before this expectation".to_owned()))?;
                let parts = tokens.split(|token| *token == Token::Separator(';'));
                turn.expectations.extend(parts.map(|part| (number, part.to_vec())));
                continue;
            }
            if let (None, Some(header)) = (script.scenarios.last(), line.strip_suffix(':')) {
                let mut body = String::new();
                while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with(' ') || line.trim().is_empty()) {
                    body.push_str(line);
                    body.push('\n');
                }
                script.define(header, &body).map_err(at)?;
                continue;
            }
            let scenario = script.scenarios.last_mut().ok_or_else(|| at(format!("`{line}` is no definition")))?;
            scenario.turns.push(Turn { line: number, command: tokens, expectations: Vec::new() });
        }
        Ok(script)
    }

    /// `process NAME` or `flow NAME`, and what is indented below it.
    fn define(&mut self, header: &str, body: &str) -> Result<(), String> {
        match header.split_once(' ') {
            Some(("process", name)) => {
                let record = if body.contains("record:") { "" } else { "record: { type: request }\n" };
                let text = format!(
                    "apiVersion: quorate/v1\nkind: ApprovalProcess\nname: {name}\n{record}{}",
                    body.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
                );
                let read = read_process(&text, &quorate_engine::definition::Everything);
                let (process, _) = read.map_err(|complaints| format!("process `{name}`: {complaints:?}"))?;
                self.processes.insert(name.to_owned(), process);
                self.texts.insert(name.to_owned(), text);
                Ok(())
            }
            Some(("calendar", name)) => {
                let lines: Vec<_> = body.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
                let text = format!("apiVersion: quorate/v1\nkind: Calendar\nname: {name}\n{}", lines.join("\n"));
                self.calendars.push(text);
                Ok(())
            }
            Some(("flow", name)) => {
                self.flows.insert(name.to_owned(), body.to_owned());
                Ok(())
            }
            _ => Err(format!("`{header}` is none of `process NAME`, `flow NAME` and `calendar NAME`")),
        }
    }

    /// The process of a scenario, which its title ends with: `a title (process)`.
    fn process_of(&self, title: &str) -> Result<String, String> {
        let name = title.strip_suffix(')').and_then(|title| title.rsplit_once('(')).map(|(_, name)| name);
        let name = name.ok_or("a title ends with the name of its process in parentheses")?;
        if self.processes.contains_key(name) {
            Ok(name.to_owned())
        } else {
            Err(format!("there is no process `{name}`"))
        }
    }
}

fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ';' | ',' => {
                tokens.push(Token::Separator(first));
                1
            }
            '"' => {
                let end = rest[1..].find('"').ok_or("a quotation does not end")?;
                tokens.push(Token::Quoted(rest[1..=end].to_owned()));
                end + 2
            }
            '{' | '[' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde_json::Value>();
                values.next().and_then(Result::ok).ok_or_else(|| format!("`{rest}` does not begin with JSON"))?;
                let end = values.byte_offset();
                tokens.push(Token::Json(rest[..end].to_owned()));
                end
            }
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ';' | ',')).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

impl Token {
    /// Words as they are; other tokens by what they are, so that they can be matched.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Quoted(text) | Self::Json(text) => text,
            Self::Separator(_) => ",",
        }
    }
}
