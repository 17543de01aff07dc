//! Runtime expressions: jq.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use futures::channel::oneshot;
use jaq_core::{
    Compiler, Ctx, Filter, Vars, compile, data,
    load::{self, Arena, File, Loader},
    unwrap_valr,
};
use jaq_json::Val;
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use crate::{EXPRESSION_BYTES_MAX, Problem, VALUE_BYTES_MAX, VALUE_DEPTH_MAX};

/// Functions of jq that reach out of an expression: they read the environment, print, or end the process.
const NATIVES_LEFT_OUT: [&str; 4] = ["env", "halt", "stderr_empty", "debug_empty"];

/// Definitions of jq that are made with those.
const DEFINITIONS_LEFT_OUT: [&str; 4] = ["halt", "halt_error", "debug", "stderr"];

/// The variable that holds the secrets.
pub(crate) const SECRETS: &str = "secrets";

/// The stack of a thread that compiles or evaluates: jq recurses with the depth of an expression and of data. Memory is taken
/// as it is touched.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// How many expressions are evaluated at once, in the process; others wait. Many more than there are cores, since one without end
/// holds its place for long.
const EVALUATIONS_MAX: usize = 256;

static PLACES: Mutex<Places> = Mutex::new(Places { taken: 0, waiting: VecDeque::new() });

/// Places for evaluations.
struct Places {
    taken: usize,
    /// Who gets the next one, the first first.
    waiting: VecDeque<oneshot::Sender<Running>>,
}

/// How many evaluations run in this process. For tests with a clock of their own, which stands still meanwhile.
#[doc(hidden)]
pub fn evaluations() -> usize {
    places().taken
}

/// A compiled expression. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Expression(Arc<Compiled>);

struct Compiled {
    source: String,
    filter: Filter<data::JustLut<Val>>,
    /// The variables in the order they were declared, and whether the expression says their name.
    variables: Vec<(String, bool)>,
    secrets: SecretsUsed,
}

/// Which secrets an expression may use.
enum SecretsUsed {
    Named(Vec<String>),
    All,
}

impl SecretsUsed {
    /// By its text: a variable cannot be written in another way. Only `$secrets.name` says which one.
    fn of(source: &str) -> Self {
        let is_of_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let mut names = Vec::new();
        for after in source.split("$secrets").skip(1) {
            let name = after.strip_prefix('.').unwrap_or_default();
            let end = name.bytes().position(|byte| !is_of_a_name(&byte)).unwrap_or(name.len());
            if end == 0 {
                return Self::All;
            }
            names.push(name[..end].to_owned());
        }
        Self::Named(names)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.source).finish()
    }
}

impl Expression {
    /// Compiles; the error says what is wrong. `variables` are those that are known, without `$`.
    pub(crate) fn compile(source: &str, variables: &[String]) -> Result<Self, String> {
        if source.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes"));
        }
        if defines(source) {
            return Err("an expression defines no functions (`def`)".to_owned());
        }
        let definitions = jaq_core::defs()
            .chain(jaq_std::defs())
            .chain(jaq_json::defs())
            .filter(|definition| !DEFINITIONS_LEFT_OUT.contains(&definition.name));
        let natives = jaq_core::funs::<data::JustLut<Val>>()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs())
            .filter(|(name, ..)| !NATIVES_LEFT_OUT.contains(name));
        let arena = Arena::default();
        let modules = Loader::new(definitions).load(&arena, File { code: source, path: () }).map_err(|errors| {
            let error = errors.first().map(|(_, error)| syntax(error));
            error.unwrap_or_else(|| "it is no jq expression".to_owned())
        })?;
        let globals: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
        let filter = Compiler::default()
            .with_funs(natives)
            .with_global_vars(globals.iter().map(String::as_str))
            .compile(modules)
            .map_err(|errors| {
                let error = errors.first().and_then(|(_, errors)| errors.first());
                error.map_or_else(|| "it is no jq expression".to_owned(), |error| unknown(error, variables))
            })?;
        let variables = variables.iter().map(|name| (name.clone(), source.contains(&format!("${name}")))).collect();
        let secrets = SecretsUsed::of(source);
        Ok(Self(Arc::new(Compiled { source: source.to_owned(), filter, variables, secrets })))
    }

    /// Evaluates on a value, with the variables that `lookup` gives. No output is null; two are an error.
    pub(crate) async fn evaluate(&self, on: &Value, lookup: impl Fn(&str) -> Value) -> Result<Value, Problem> {
        let variables: Vec<Value> = (self.0.variables.iter())
            .map(|(name, is_used)| if *is_used { lookup(name) } else { Value::Null })
            .collect();
        let (compiled, on) = (self.0.clone(), on.clone());
        on_a_large_stack(move || compiled.evaluate(&on, &variables)).await?.map_err(|error| {
            // jq's messages quote what an operation was given.
            let error =
                if self.uses_secrets() { "it fails; why is withheld, for it may tell a secret" } else { &error };
            Problem::expression(format!("`{}`: {error}", self.0.source))
        })
    }

    /// Adds the names of the secrets that may be in what it gives, of all that there are.
    pub(crate) fn add_secrets<'a>(&'a self, all: &'a [String], names: &mut BTreeSet<&'a str>) {
        match &self.0.secrets {
            SecretsUsed::Named(used) => names.extend(used.iter().map(String::as_str)),
            SecretsUsed::All => names.extend(all.iter().map(String::as_str)),
        }
    }

    /// Whether a secret may be in what it gives.
    pub(crate) fn uses_secrets(&self) -> bool {
        self.0.variables.iter().any(|(name, is_used)| *is_used && name == SECRETS)
    }
}

impl Compiled {
    fn evaluate(&self, on: &Value, variables: &[Value]) -> Result<Value, String> {
        let read = |value: &Value| Val::deserialize(value).map_err(|error| error.to_string());
        let variables = variables.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new(variables));
        let mut outputs = self.filter.id.run((context, read(on)?)).map(unwrap_valr);
        let Some(output) = outputs.next() else { return Ok(Value::Null) };
        let output = output.map_err(|error| error.to_string())?;
        if outputs.next().is_some() {
            return Err("it gives more than one value; put it in brackets for a list".to_owned());
        }
        json(&output, VALUE_DEPTH_MAX, &mut VALUE_BYTES_MAX.clone())
    }
}

/// Runs on a thread of its own, when there is a place. What does not end there does not keep other jobs from going on.
async fn on_a_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let panicked = |_| Problem::runtime("an expression's evaluation has panicked");
    let running = Running::begin().await.map_err(panicked)?;
    let (sender, receiver) = oneshot::channel();
    let thread = thread::Builder::new().name("expression".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let _running = running;
        // Whoever asked may have given up.
        let _ = sender.send(work());
    });
    thread.map_err(|error| Problem::runtime(format!("no thread for an expression: {error}")))?;
    receiver.await.map_err(panicked)
}

/// A place, until it is dropped.
struct Running;

impl Running {
    async fn begin() -> Result<Self, oneshot::Canceled> {
        let waiting = {
            let mut places = places();
            if places.taken < EVALUATIONS_MAX {
                places.taken += 1;
                return Ok(Self);
            }
            let (sender, receiver) = oneshot::channel();
            places.waiting.push_back(sender);
            receiver
        };
        waiting.await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        loop {
            let next = {
                let mut places = places();
                let next = places.waiting.pop_front();
                if next.is_none() {
                    places.taken -= 1;
                }
                next
            };
            match next.map(|next| next.send(Self)) {
                None | Some(Ok(())) => return,
                // That one has given up. What comes back is this place itself, which goes to the next one.
                Some(Err(place)) => std::mem::forget(place),
            }
        }
    }
}

fn places() -> MutexGuard<'static, Places> {
    // A panic while the lock was held leaves them whole: what changes them does not panic.
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compiles on a stack that is large enough for what a hostile source nests.
pub(crate) fn with_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        thread.ok().and_then(|thread| thread.join().ok())
    })
}

/// Whether the word `def` stands outside texts. Functions of one's own recurse without bound.
fn defines(source: &str) -> bool {
    let mut words = source.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '@' | '"')));
    words.any(|word| word == "def")
}

fn syntax(error: &load::Error<&str>) -> String {
    match error {
        load::Error::Io(_) => "an expression imports nothing".to_owned(),
        load::Error::Lex(errors) => errors.first().map_or_else(String::new, |(expected, rest)| {
            format!("{} is expected at `{}`", expected.as_str(), shortened(rest))
        }),
        load::Error::Parse(errors) => errors.first().map_or_else(String::new, |(expected, found)| {
            let found = if found.is_empty() { "the end".to_owned() } else { format!("`{}`", shortened(found)) };
            format!("{} is expected, not {found}", expected.as_str())
        }),
    }
}

fn unknown((name, what): &compile::Error<&str>, variables: &[String]) -> String {
    match what {
        compile::Undefined::Var => {
            let known: Vec<String> = variables.iter().map(|name| format!("`${name}`")).collect();
            format!("the variable `{name}` is not known here; there is {}", known.join(", "))
        }
        compile::Undefined::Filter(arity) => format!("there is no function `{name}/{arity}`"),
        other => format!("there is no {} `{name}`", other.as_str()),
    }
}

fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 30;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// What jq gave as JSON, within bounds.
fn json(value: &Val, depth: usize, bytes: &mut usize) -> Result<Value, String> {
    let mut take = |size: usize| -> Result<(), String> {
        *bytes = bytes.checked_sub(size).ok_or_else(|| format!("its value has more than {VALUE_BYTES_MAX} bytes"))?;
        Ok(())
    };
    if depth == 0 {
        return Err(format!("its value nests more than {VALUE_DEPTH_MAX} levels"));
    }
    match value {
        Val::Null => take(4).map(|()| Value::Null),
        Val::Bool(value) => take(5).map(|()| Value::Bool(*value)),
        Val::Num(number) => {
            let text = number.to_string();
            take(text.len())?;
            // What JSON cannot write, jq writes as null.
            let number = serde_json::from_str::<Number>(&text).ok().or_else(|| Number::from_f64(text.parse().ok()?));
            Ok(number.map_or(Value::Null, Value::Number))
        }
        Val::BStr(text) | Val::TStr(text) => {
            take(text.len() + 2)?;
            Ok(Value::String(String::from_utf8_lossy(text).into_owned()))
        }
        Val::Arr(elements) => {
            take(2 + elements.len())?;
            elements.iter().map(|element| json(element, depth - 1, bytes)).collect()
        }
        Val::Obj(fields) => {
            take(2 + 4 * fields.len())?;
            let mut object = Map::new();
            for (name, value) in fields.iter() {
                let Val::TStr(name) = name else { return Err("a field's name has to be a text".to_owned()) };
                *bytes = bytes.saturating_sub(name.len());
                object.insert(String::from_utf8_lossy(name).into_owned(), json(value, depth - 1, bytes)?);
            }
            Ok(Value::Object(object))
        }
    }
}

/// Data with expressions in it.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Constant(Value),
    Expression(Expression),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Template {
    /// Adds the names of the secrets that may be in what it gives, of all that there are.
    pub(crate) fn add_secrets<'a>(&'a self, all: &'a [String], names: &mut BTreeSet<&'a str>) {
        match self {
            Self::Constant(_) => {}
            Self::Expression(expression) => expression.add_secrets(all, names),
            Self::List(elements) => elements.iter().for_each(|element| element.add_secrets(all, names)),
            Self::Object(fields) => fields.iter().for_each(|(_, field)| field.add_secrets(all, names)),
        }
    }

    /// Whether a secret may be in what it gives.
    pub(crate) fn uses_secrets(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Expression(expression) => expression.uses_secrets(),
            Self::List(elements) => elements.iter().any(Self::uses_secrets),
            Self::Object(fields) => fields.iter().any(|(_, field)| field.uses_secrets()),
        }
    }
}
