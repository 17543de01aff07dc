//! Carrying a workflow out.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use futures::{
    FutureExt,
    future::{self, BoxFuture, Either},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{effect::Collected, secret::Secrets, token::Tokens};
use crate::{
    Effects, JobEffect, Problem, STEPS_MAX, VALUE_BYTES_MAX, Workflow,
    expression::{Expression, SECRETS, Template},
    length,
    model::{Action, ErrorTemplate, For, Length, RunWorkflow, Task, Then, Transformation},
};

mod call;
mod effect;
mod grpc;
mod retry;
mod secret;
mod token;

/// What a run is told about itself.
#[derive(Clone, Debug)]
pub struct Run {
    /// What `$workflow.id` says: the same in every attempt, so that calls can be made idempotent.
    pub id: String,
    /// What `$runtime.metadata` says: the attempt, the submission, and so on.
    pub metadata: Value,
}

/// What a run has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// What it gives.
    pub output: Value,
    /// What it does to its submission, in order; at most [`crate::EFFECTS_MAX`].
    pub effects: Vec<JobEffect>,
}

impl Workflow {
    /// Runs to the end. Nothing is kept if the future is dropped.
    pub async fn run(&self, run: Run, input: Value, effects: &dyn Effects) -> Result<Finished, Problem> {
        let runtime = json!({
            "name": "quorate",
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": run.metadata,
        });
        let (steps, collected) = (AtomicUsize::new(0), Collected::default());
        let output = self.carry_out(run.id, runtime, input, effects, &steps, &collected).await?;
        Ok(Finished { output, effects: collected.take() })
    }

    async fn carry_out(
        &self,
        id: String,
        runtime: Value,
        input: Value,
        effects: &dyn Effects,
        steps: &AtomicUsize,
        collected: &Collected,
    ) -> Result<Value, Problem> {
        let secrets = Secrets::resolve(&self.secrets, effects)?;
        let workflow = json!({
            "id": id,
            "definition": self.definition,
            "input": input,
            "startedAt": moment(effects.now()),
        });
        let interpreter = Interpreter {
            effects,
            secrets,
            runtime,
            workflow,
            context: Mutex::new(Value::Null),
            steps,
            tokens: Tokens::default(),
        };
        let around = Surroundings { collected: collected.clone(), ..Surroundings::default() };
        let input = interpreter.transform(&self.input, input, &around, true).await?;
        *interpreter.context() = input.clone();
        let all = async {
            let (output, _) = interpreter.tasks(&self.tasks, &around, input).await?;
            Ok(output)
        };
        let output = interpreter.within(self.timeout.as_ref(), "the workflow", &Value::Null, &around, all).await?;
        interpreter.transform(&self.output, output, &around, false).await
    }
}

struct Interpreter<'e> {
    effects: &'e dyn Effects,
    secrets: Secrets,
    runtime: Value,
    workflow: Value,
    context: Mutex<Value>,
    /// How many tasks were begun, those of workflows within each other among them.
    steps: &'e AtomicUsize,
    tokens: Tokens,
}

/// What an expression sees besides the value it is evaluated on.
#[derive(Clone, Default)]
struct Surroundings {
    /// Variables of loops and caught errors, the innermost last.
    scope: Vec<(String, Value)>,
    /// Which of several turns of its tasks this is: the items of loops around it, and how often a task was gone back to. What is
    /// tried again is in the same turn.
    turn: String,
    /// Where the effects of its tasks go.
    collected: Collected,
    task: Value,
    input: Value,
    output: Value,
}

impl Surroundings {
    fn inside(&self, variables: impl IntoIterator<Item = (String, Value)>) -> Self {
        let mut inside = self.clone();
        inside.scope.extend(variables);
        inside
    }

    /// Collects effects apart, so that they can be let go.
    fn apart(&self) -> Self {
        Self { collected: Collected::default(), ..self.clone() }
    }

    fn in_turn(&self, turn: &str) -> Self {
        Self { turn: format!("{}/{turn}", self.turn), ..self.clone() }
    }
}

/// How a list of tasks was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    ByItsEnd,
    /// The workflow ends.
    End,
}

type Done = Result<(Value, Left), Problem>;

impl Interpreter<'_> {
    fn context(&self) -> std::sync::MutexGuard<'_, Value> {
        // A value is replaced whole: a panic in between leaves one of the two.
        self.context.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out tasks one after the other.
    fn tasks<'a>(&'a self, tasks: &'a [Task], around: &'a Surroundings, input: Value) -> BoxFuture<'a, Done> {
        async move {
            let mut data = input;
            let mut next = 0;
            let mut visits = vec![0u32; tasks.len()];
            while let Some(task) = tasks.get(next) {
                let visit = visits[next];
                visits[next] += 1;
                let again = (visit > 0).then(|| around.in_turn(&format!("visit {visit}")));
                let (output, then) = self.task(task, again.as_ref().unwrap_or(around), data).await?;
                data = output;
                next = match then {
                    Then::Continue => next + 1,
                    Then::Task(index) => index,
                    Then::Exit => break,
                    Then::End => return Ok((data, Left::End)),
                };
            }
            Ok((data, Left::ByItsEnd))
        }
        .boxed()
    }

    /// Carries out one task: its output, and where it goes on.
    fn task<'a>(
        &'a self,
        task: &'a Task,
        around: &'a Surroundings,
        raw: Value,
    ) -> BoxFuture<'a, Result<(Value, Then), Problem>> {
        async move {
            if self.steps.fetch_add(1, Ordering::Relaxed) >= STEPS_MAX {
                let problem = Problem::validation(format!("a run carries out at most {STEPS_MAX} tasks"));
                return Err(problem.at(&task.pointer));
            }
            // All that fails does so in a task, so this is where secrets are taken out of what is said of it: a service's or a
            // library's words may repeat what they were given.
            let failed = |problem: Problem| problem.at(&task.pointer).without(self.secrets.words());
            self.task_unbounded(task, around, raw).await.map_err(failed)
        }
        .boxed()
    }

    /// Whether a task was refused because the run has carried out as many as it may.
    fn steps_are_used_up(&self) -> bool {
        self.steps.load(Ordering::Relaxed) > STEPS_MAX
    }

    async fn task_unbounded(&self, task: &Task, around: &Surroundings, raw: Value) -> Result<(Value, Then), Problem> {
        let mut around = Surroundings {
            task: json!({
                "name": task.name,
                "reference": task.pointer,
                "definition": task.definition,
                "input": raw,
                "startedAt": moment(self.effects.now()),
            }),
            ..around.clone()
        };
        if let Some(condition) = &task.condition
            && !self.holds(condition, &raw, &around).await?
        {
            return Ok((raw, Then::Continue));
        }
        let input = self.transform(&task.input, raw, &around, true).await?;
        around.input = input.clone();
        let action = self.act(task, &around, input.clone());
        let (output, then) = self.within(task.timeout.as_ref(), "the task", &input, &around, action).await?;
        around.task["output"] = output.clone();
        let output = self.transform(&task.output, output, &around, false).await?;
        if task.export.data.is_some() || task.export.schema.is_some() {
            around.output = output.clone();
            let exported = self.transform(&task.export, output.clone(), &around, false).await?;
            *self.context() = exported;
        }
        Ok((output, then.unwrap_or(task.then)))
    }

    /// What a task does: its output, and where it goes on if that is not what its `then` says.
    async fn act(&self, task: &Task, around: &Surroundings, input: Value) -> Result<(Value, Option<Then>), Problem> {
        let (output, left) = match &task.action {
            Action::Do(tasks) => self.tasks(tasks, around, input).await?,
            Action::Set(template) => return Ok((self.fill(template, &input, around).await?, None)),
            Action::Switch(cases) => {
                for case in cases {
                    let is_it = match &case.when {
                        Some(when) => self.holds(when, &input, around).await?,
                        None => true,
                    };
                    if is_it {
                        return Ok((input, Some(case.then)));
                    }
                }
                return Ok((input, None));
            }
            Action::For(each) => self.for_each(each, around, input).await?,
            Action::Fork { branches, compete } => {
                return Ok((self.fork(branches, *compete, around, input).await?, None));
            }
            Action::Try(tried) => self.try_catch(tried, around, input).await?,
            Action::Raise(error) => return Err(self.problem(error, &input, around).await?),
            Action::Wait(length) => {
                let length = self.length(length, &input, around).await?;
                self.effects.sleep(length).await;
                return Ok((input, None));
            }
            Action::Http(call) => return Ok((self.http(call, &input, around).await?, None)),
            Action::Grpc(call) => return Ok((self.grpc(call, &input, around).await?, None)),
            Action::Mail(call) => return Ok((self.mail(call, task, &input, around).await?, None)),
            Action::Webhook(call) => return Ok((self.webhook(call, task, &input, around).await?, None)),
            Action::Comment(text) => {
                self.comment(text, &input, around).await?;
                return Ok((input, None));
            }
            Action::UpdateRecord(patch) => {
                self.update_record(patch, &input, around).await?;
                return Ok((input, None));
            }
            Action::Run(run) => return Ok((self.run_workflow(run, task, input, around).await?, None)),
            Action::Emit(event) => return Ok((self.emit(event, task, &input, around).await?, None)),
        };
        Ok((output, (left == Left::End).then_some(Then::End)))
    }

    async fn for_each(&self, each: &For, around: &Surroundings, input: Value) -> Done {
        let list = match self.evaluate(&each.list, &input, around).await? {
            Value::Array(list) => list,
            Value::Null => Vec::new(),
            _ => return Err(Problem::expression("`for.in` has to give a list")),
        };
        let mut data = input;
        for (index, item) in list.into_iter().enumerate() {
            let inside = around.inside([(each.each.clone(), item), (each.at.clone(), index.into())]);
            let inside = inside.in_turn(&format!("item {index}"));
            if let Some(condition) = &each.condition
                && !self.holds(condition, &data, &inside).await?
            {
                break;
            }
            let (output, left) = self.tasks(&each.tasks, &inside, data).await?;
            data = output;
            if left == Left::End {
                return Ok((data, Left::End));
            }
        }
        Ok((data, Left::ByItsEnd))
    }

    /// All branches at once. Those that still run when it is over are dropped.
    async fn fork(
        &self,
        branches: &[Task],
        compete: bool,
        around: &Surroundings,
        input: Value,
    ) -> Result<Value, Problem> {
        if compete {
            let branches = branches.iter().map(|branch| {
                let apart = around.apart();
                let input = input.clone();
                async move { Ok::<_, Problem>((self.task(branch, &apart, input).await?.0, apart.collected)) }.boxed()
            });
            // Only the first one counts, with what it does.
            let ((output, collected), _) = future::select_ok(branches).await?;
            around.collected.take_over(&collected)?;
            return Ok(output);
        }
        let budget = Mutex::new(Budget::of("what the branches give together"));
        let branches = branches.iter().map(async |branch| {
            let (output, _) = self.task(branch, around, input.clone()).await?;
            // A panic while the lock was held leaves a number.
            budget.lock().unwrap_or_else(PoisonError::into_inner).take(&output)?;
            Ok::<_, Problem>(output)
        });
        Ok(future::try_join_all(branches).await?.into())
    }

    /// Its run has an id of its own, the same in every attempt.
    async fn run_workflow(
        &self,
        run: &RunWorkflow,
        task: &Task,
        input: Value,
        around: &Surroundings,
    ) -> Result<Value, Problem> {
        let id = self.call_id(task, around);
        let given = match &run.input {
            Some(template) => self.fill(template, &input, around).await?,
            None => input,
        };
        let runtime = self.runtime.clone();
        run.workflow.carry_out(id, runtime, given, self.effects, self.steps, &around.collected).boxed().await
    }

    async fn problem(&self, error: &ErrorTemplate, on: &Value, around: &Surroundings) -> Result<Problem, Problem> {
        let text = async |template: &Template| {
            Ok::<_, Problem>(match self.fill(template, on, around).await? {
                Value::String(text) => text,
                other => other.to_string(),
            })
        };
        Ok(Problem {
            kind: text(&error.kind).await?,
            status: error.status,
            title: match &error.title {
                Some(title) => Some(text(title).await?),
                None => None,
            },
            detail: match &error.detail {
                Some(detail) => Some(text(detail).await?),
                None => None,
            },
            instance: error.instance.clone(),
        })
    }

    /// Input is checked before, output and context after they are transformed.
    async fn transform(
        &self,
        transformation: &Transformation,
        data: Value,
        around: &Surroundings,
        is_input: bool,
    ) -> Result<Value, Problem> {
        let check = |data: &Value| match &transformation.schema {
            Some(schema) => schema.check(data).map_err(Problem::validation),
            None => Ok(()),
        };
        if is_input {
            check(&data)?;
        }
        let data = match &transformation.data {
            Some(template) => self.fill(template, &data, around).await?,
            None => data,
        };
        if !is_input {
            check(&data)?;
        }
        Ok(data)
    }

    /// Ends with a timeout where there is one and the work does not end before.
    async fn within<T>(
        &self,
        timeout: Option<&Length>,
        what: &str,
        on: &Value,
        around: &Surroundings,
        work: impl Future<Output = Result<T, Problem>> + Send,
    ) -> Result<T, Problem> {
        let Some(timeout) = timeout else { return work.await };
        let length = self.length(timeout, on, around).await?;
        match future::select(Box::pin(work), self.effects.sleep(length)).await {
            Either::Left((done, _)) => done,
            Either::Right(((), _)) => Err(Problem::timeout(format!("{what} has taken longer than {length:?}"))),
        }
    }

    async fn length(&self, length: &Length, on: &Value, around: &Surroundings) -> Result<std::time::Duration, Problem> {
        match length {
            Length::Fixed(length) => Ok(*length),
            Length::Expression(expression) => {
                length::parse(&self.evaluate(expression, on, around).await?).map_err(Problem::expression)
            }
        }
    }

    /// Whether an expression gives true; anything but true and false is an error.
    async fn holds(&self, expression: &Expression, on: &Value, around: &Surroundings) -> Result<bool, Problem> {
        match self.evaluate(expression, on, around).await? {
            Value::Bool(holds) => Ok(holds),
            other => Err(Problem::expression(format!("a condition has to give true or false, not {other}"))),
        }
    }

    async fn evaluate(&self, expression: &Expression, on: &Value, around: &Surroundings) -> Result<Value, Problem> {
        expression
            .evaluate(on, |name| match name {
                "context" => self.context().clone(),
                "workflow" => self.workflow.clone(),
                "runtime" => self.runtime.clone(),
                SECRETS => self.secrets.value().clone(),
                "task" => around.task.clone(),
                "input" => around.input.clone(),
                "output" => around.output.clone(),
                name => {
                    let found = around.scope.iter().rev().find(|(variable, _)| variable == name);
                    found.map_or(Value::Null, |(_, value)| value.clone())
                }
            })
            .await
    }

    /// Data with its expressions evaluated: a value, which has the bound of one.
    async fn fill(&self, template: &Template, on: &Value, around: &Surroundings) -> Result<Value, Problem> {
        self.fill_within(&mut Budget::of("a value"), template, on, around).await
    }

    /// Data that is a part of something larger.
    fn fill_within<'a>(
        &'a self,
        budget: &'a mut Budget,
        template: &'a Template,
        on: &'a Value,
        around: &'a Surroundings,
    ) -> BoxFuture<'a, Result<Value, Problem>> {
        async move {
            Ok(match template {
                Template::Constant(value) => {
                    budget.take(value)?;
                    value.clone()
                }
                Template::Expression(expression) => {
                    let value = self.evaluate(expression, on, around).await?;
                    budget.take(&value)?;
                    value
                }
                Template::List(elements) => {
                    let mut list = Vec::with_capacity(elements.len());
                    for element in elements {
                        list.push(self.fill_within(budget, element, on, around).await?);
                    }
                    Value::Array(list)
                }
                Template::Object(fields) => {
                    let mut object = Map::new();
                    for (name, field) in fields {
                        object.insert(name.clone(), self.fill_within(budget, field, on, around).await?);
                    }
                    Value::Object(object)
                }
            })
        }
        .boxed()
    }
}

/// How much may still come together: what is made of many values is no larger than one.
struct Budget {
    what: &'static str,
    bytes_left: usize,
}

impl Budget {
    fn of(what: &'static str) -> Self {
        Self { what, bytes_left: VALUE_BYTES_MAX }
    }

    fn take(&mut self, value: &Value) -> Result<(), Problem> {
        let left = self.bytes_left.checked_sub(bytes_of(value));
        self.bytes_left =
            left.ok_or_else(|| Problem::expression(format!("{} has more than {VALUE_BYTES_MAX} bytes", self.what)))?;
        Ok(())
    }
}

/// How many bytes it has as JSON, about: what is escaped is counted once.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        // What most numbers are shorter than.
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(elements) => 2 + elements.iter().map(|element| bytes_of(element) + 1).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(name, value)| name.len() + 4 + bytes_of(value)).sum::<usize>(),
    }
}

/// A moment as the DSL describes one.
fn moment(at: Timestamp) -> Value {
    json!({"iso8601": at.to_string(), "epoch": {"seconds": at.as_second(), "milliseconds": at.as_millisecond()}})
}
