//! The three workloads of DESIGN 10, as definitions.

use std::fmt::Write;

use clap::ValueEnum;

use crate::cli::documents::{Document, Kind};

/// The flow of every background step: it does nothing.
const FLOW: &str = "\
apiVersion: quorate/v1
kind: Flow
name: quorate-bench-noop
type: autolaunched
task_queue: quorate-bench
code: {}
";

/// What a submission goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One background step
    W1,
    /// A background step, one approval decided at once, a background step
    W2,
    /// Ten background steps in sequence
    W3,
}

enum Step {
    Background,
    Approval,
}

impl Workload {
    /// Its name, as in `--workload`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
        }
    }

    /// The process that it submits to.
    pub(crate) fn process(self) -> &'static str {
        match self {
            Self::W1 => "quorate-bench-w1",
            Self::W2 => "quorate-bench-w2",
            Self::W3 => "quorate-bench-w3",
        }
    }

    /// What must be stored before it can run, in order: people (who submits, who approves) where people take part, the
    /// flow, the process.
    pub(crate) fn documents(self, people: [&str; 2]) -> Vec<Document> {
        let [_, reviewer] = people;
        let document = |kind, name: &str, text: String| Document {
            file: format!("<bench {}>", self.name()),
            line: 1,
            kind,
            name: name.to_owned(),
            text,
        };
        let mut documents = Vec::new();
        if self == Self::W2 {
            documents.push(document(Kind::Directory, "", directory(people)));
        }
        documents.push(document(Kind::Flow, "quorate-bench-noop", FLOW.to_owned()));
        documents.push(document(Kind::ApprovalProcess, self.process(), self.definition(reviewer)));
        documents
    }

    fn steps(self) -> Vec<Step> {
        match self {
            Self::W1 => vec![Step::Background],
            Self::W2 => vec![Step::Background, Step::Approval, Step::Background],
            Self::W3 => std::iter::repeat_with(|| Step::Background).take(10).collect(),
        }
    }

    fn definition(self, reviewer: &str) -> String {
        let mut text = format!(
            "apiVersion: quorate/v1\nkind: ApprovalProcess\nname: {}\nrecord:\n  type: quorate_bench\n",
            self.process()
        );
        if self != Self::W2 {
            text.push_str("allow_no_approvals: true\n");
        }
        text.push_str("stages:\n  - name: work\n    steps:\n");
        for (index, step) in self.steps().iter().enumerate() {
            let number = index + 1;
            let start = if index == 0 { String::new() } else { format!(", start: {{ after: [step_{index}] }}") };
            let work = match step {
                // Asynchronous: the Submit call answers at once, and what is measured is the way through the queue.
                Step::Background => "background: { flow: quorate-bench-noop, execution: async }".to_owned(),
                Step::Approval => format!("approval: {{ assign: [{{ user: {reviewer:?} }}] }}"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "      - {{ name: step_{number}{start}, {work} }}");
        }
        text.push_str("    next: [{ to: end }]\n");
        text
    }
}

fn directory(people: [&str; 2]) -> String {
    let mut text = "apiVersion: quorate/v1\nkind: Directory\nusers:\n".to_owned();
    for name in people {
        let _ = writeln!(text, "  - {{ name: {name:?} }}");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed(workload: Workload) -> Vec<Value> {
        let documents = workload.documents(["ann", "bob"]);
        documents.iter().map(|document| serde_saphyr::from_str(&document.text).unwrap()).collect()
    }

    #[test]
    fn w1_is_one_background_step_and_no_approval() {
        let documents = parsed(Workload::W1);
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1]["allow_no_approvals"], true);
        assert_eq!(documents[1]["stages"][0]["steps"].as_array().unwrap().len(), 1);
        assert_eq!(documents[1]["stages"][0]["steps"][0]["background"]["flow"], documents[0]["name"]);
    }

    #[test]
    fn w2_asks_the_reviewer_between_two_background_steps() {
        let documents = parsed(Workload::W2);
        let steps = &documents[2]["stages"][0]["steps"];
        assert_eq!(steps[1]["approval"]["assign"][0]["user"], "bob");
        assert_eq!(steps[2]["start"]["after"][0], steps[1]["name"]);
        assert_eq!(documents[0]["users"][1]["name"], "bob");
        assert_eq!(documents[2].get("allow_no_approvals"), None);
    }

    #[test]
    fn w3_is_ten_steps_each_after_the_one_before() {
        let documents = parsed(Workload::W3);
        let steps = documents[1]["stages"][0]["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 10);
        for pair in steps.windows(2) {
            assert_eq!(pair[1]["start"]["after"], serde_json::json!([pair[0]["name"]]));
        }
    }
}
