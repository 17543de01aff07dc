//! The evaluator: a walk over the tree that charges a budget for each step, before it is made.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::budget::{Budget, Usage, VALUE_BYTES_MAX, VALUE_DEPTH_MAX, exceeded};
use super::compare::{are_ordered, compare, equals};
use super::node::{Loop, LoopKind, Node, NodeKind, Operator};
use super::value::{Key, VALUE_BYTES, Value};
use super::{EvalError, EvalErrorReason, Variables, functions, text, time};

/// Evaluates a tree, and says what that has cost.
pub(super) fn eval(root: &Node, variables: &Variables) -> (Result<Value, EvalError>, Usage) {
    let mut evaluation = Evaluation { variables, locals: Vec::new(), budget: Budget::default() };
    let result = evaluation.eval(root);
    (result, evaluation.budget.usage())
}

/// A count as a value.
pub(super) fn int(count: usize) -> Result<Value, EvalError> {
    i64::try_from(count).map(Value::Int).map_err(|_| overflow("int"))
}

/// The error for a result out of its type's range.
pub(super) fn overflow(ty: &str) -> EvalError {
    EvalError::new(EvalErrorReason::Overflow, format!("the result is outside of what {ty} can hold"))
}

struct Evaluation<'a> {
    variables: &'a Variables,
    /// The elements that the enclosing loops are at.
    locals: Vec<Value>,
    budget: Budget,
}

impl Evaluation<'_> {
    fn eval(&mut self, node: &Node) -> Result<Value, EvalError> {
        self.budget.step().and_then(|()| self.eval_kind(node)).map_err(|error| error.at(node.offset))
    }

    fn eval_kind(&mut self, node: &Node) -> Result<Value, EvalError> {
        match &node.kind {
            NodeKind::Literal(value) => Ok(value.clone()),
            NodeKind::Variable(name) => self.variable(name),
            // The slot was resolved to a loop around this node, which has pushed its element.
            NodeKind::Local(slot) => Ok(self.locals.get(*slot).cloned().unwrap_or(Value::Null)),
            NodeKind::Select { operand, field } => select(&self.eval(operand)?, field),
            NodeKind::Has { operand, field } => has(&self.eval(operand)?, field),
            NodeKind::Index { operand, index } => {
                let operand = self.eval(operand)?;
                let index = self.eval(index)?;
                self.index(&operand, &index)
            }
            NodeKind::Not(operand) => self.eval_bool(operand, "!").map(|value| Value::Bool(!value)),
            NodeKind::Negate(operand) => negate(&self.eval(operand)?),
            NodeKind::And(operands) => self.eval_logical(operands, false),
            NodeKind::Or(operands) => self.eval_logical(operands, true),
            NodeKind::Conditional(operands) => {
                let [condition, yes, no] = operands.as_ref();
                if self.eval_bool(condition, "? :")? { self.eval(yes) } else { self.eval(no) }
            }
            NodeKind::Binary { operator, operands } => self.eval_binary(*operator, operands),
            NodeKind::List(elements) => self.eval_list(elements),
            NodeKind::Map(entries) => self.eval_map(entries),
            NodeKind::Call { function, arguments } => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.eval(argument)?);
                }
                functions::call(*function, &values, &mut self.budget)
            }
            NodeKind::Loop(looped) => self.eval_loop(looped),
        }
    }

    fn variable(&self, name: &str) -> Result<Value, EvalError> {
        self.variables
            .0
            .get(name)
            .cloned()
            .ok_or_else(|| EvalError::new(EvalErrorReason::NoSuchVariable, format!("there is no variable `{name}`")))
    }

    fn eval_bool(&mut self, node: &Node, operator: &str) -> Result<bool, EvalError> {
        match self.eval(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(not_bool(operator, &other).at(node.offset)),
        }
    }

    /// `&&` and `||`: an operand which decides the result decides it whatever becomes of the other, also of an error.
    fn eval_logical(&mut self, operands: &[Node; 2], deciding: bool) -> Result<Value, EvalError> {
        let operator = if deciding { "||" } else { "&&" };
        let [left, right] = operands;
        let left = self.eval_bool(left, operator);
        match left {
            Ok(value) if value == deciding => return Ok(Value::Bool(deciding)),
            Err(error) if error.reason == EvalErrorReason::BudgetExceeded => return Err(error),
            Err(_) => self.budget.failure()?,
            Ok(_) => {}
        }
        match (left, self.eval_bool(right, operator)) {
            (_, Err(error)) if error.reason == EvalErrorReason::BudgetExceeded => Err(error),
            (_, Ok(value)) if value == deciding => Ok(Value::Bool(deciding)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!deciding)),
        }
    }

    fn eval_binary(&mut self, operator: Operator, operands: &[Node; 2]) -> Result<Value, EvalError> {
        let left = self.eval(&operands[0])?;
        let right = self.eval(&operands[1])?;
        match operator {
            Operator::Equal => equals(&left, &right, &mut self.budget).map(Value::Bool),
            Operator::NotEqual => equals(&left, &right, &mut self.budget).map(|equal| Value::Bool(!equal)),
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
                self.order(operator, &left, &right)
            }
            Operator::In => self.is_in(&left, &right),
            Operator::Add => self.add(&left, &right),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                arithmetic(operator, &left, &right)
            }
        }
    }

    fn order(&mut self, operator: Operator, left: &Value, right: &Value) -> Result<Value, EvalError> {
        if !are_ordered(left, right) {
            return Err(no_such_operator(operator, left, right));
        }
        self.budget.work(left.logical_bytes().min(right.logical_bytes()))?;
        let ordering = compare(left, right);
        Ok(Value::Bool(match operator {
            Operator::Less => ordering == Some(Ordering::Less),
            Operator::LessEqual => ordering.is_some_and(Ordering::is_le),
            Operator::Greater => ordering == Some(Ordering::Greater),
            _ => ordering.is_some_and(Ordering::is_ge),
        }))
    }

    fn is_in(&mut self, element: &Value, container: &Value) -> Result<Value, EvalError> {
        match container {
            Value::List(list) => {
                for candidate in list.iter() {
                    self.budget.step()?;
                    if equals(element, candidate, &mut self.budget)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Value::Map(map) => {
                self.budget.work(element.logical_bytes())?;
                Ok(Value::Bool(Key::of(element).is_some_and(|key| map.contains_key(&key))))
            }
            _ => Err(no_such_operator(Operator::In, element, container)),
        }
    }

    fn add(&mut self, left: &Value, right: &Value) -> Result<Value, EvalError> {
        match (left, right) {
            (Value::String(left), Value::String(right)) => text::concatenate(left, right, &mut self.budget),
            (Value::Bytes(left), Value::Bytes(right)) => {
                let bytes = left.len().saturating_add(right.len()) as u64;
                self.budget.allocate(VALUE_BYTES.saturating_add(bytes))?;
                self.budget.work(bytes)?;
                Ok(Value::Bytes([left.as_ref(), right.as_ref()].concat().into()))
            }
            (Value::List(first), Value::List(second)) => {
                self.budget.allocate(left.logical_bytes().saturating_add(right.logical_bytes()))?;
                self.budget.work(VALUE_BYTES.saturating_mul(first.len().saturating_add(second.len()) as u64))?;
                Ok(Value::list(first.iter().chain(second.iter()).cloned().collect()))
            }
            _ => match time::add(left, right) {
                Some(result) => result,
                None => arithmetic(Operator::Add, left, right),
            },
        }
    }

    fn index(&mut self, operand: &Value, index: &Value) -> Result<Value, EvalError> {
        match (operand, index) {
            (Value::List(list), Value::Int(_) | Value::Double(_)) => {
                let at = match Key::of(index) {
                    Some(Key::Int(at)) => usize::try_from(at).ok(),
                    _ => None,
                };
                at.and_then(|at| list.get(at)).cloned().ok_or_else(|| {
                    EvalError::new(
                        EvalErrorReason::IndexOutOfRange,
                        format!("the list has {} elements; the index is outside of it", list.len()),
                    )
                })
            }
            (Value::Map(map), _) => {
                self.budget.work(index.logical_bytes())?;
                let key = Key::of(index).ok_or_else(|| {
                    EvalError::new(
                        EvalErrorReason::NoSuchOverload,
                        format!("a key is a string, an int or a bool, not {}", index.type_name()),
                    )
                })?;
                map.get(&key).cloned().ok_or_else(|| no_such_field(&key.to_string()))
            }
            _ => Err(EvalError::new(
                EvalErrorReason::NoSuchOverload,
                format!("{} cannot be indexed by {}", operand.type_name(), index.type_name()),
            )),
        }
    }

    fn eval_list(&mut self, elements: &[Node]) -> Result<Value, EvalError> {
        let mut growing = Growing::new(&mut self.budget)?;
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.eval(element)?;
            growing.add(&value, &mut self.budget)?;
            values.push(value);
        }
        Ok(Value::list(values))
    }

    fn eval_map(&mut self, entries: &[[Node; 2]]) -> Result<Value, EvalError> {
        let mut growing = Growing::new(&mut self.budget)?;
        let mut values = BTreeMap::new();
        for [key, value] in entries {
            let key_value = self.eval(key)?;
            let Some(map_key) = Key::of(&key_value) else {
                let message = format!("a key is a string, an int or a bool, not {}", key_value.type_name());
                return Err(EvalError::new(EvalErrorReason::NoSuchOverload, message).at(key.offset));
            };
            let value = self.eval(value)?;
            growing.add(&key_value, &mut self.budget)?;
            growing.add(&value, &mut self.budget)?;
            if values.contains_key(&map_key) {
                let key_name = functions::shown(&map_key.to_string());
                let message = format!("the key `{key_name}` is given twice");
                return Err(EvalError::new(EvalErrorReason::DuplicateKey, message).at(key.offset));
            }
            values.insert(map_key, value);
        }
        Ok(Value::map(values))
    }

    fn eval_loop(&mut self, looped: &Loop) -> Result<Value, EvalError> {
        let range = self.eval(&looped.range)?;
        match &range {
            Value::List(list) => self.eval_rounds(looped, list.iter().cloned()),
            Value::Map(map) => self.eval_rounds(looped, map.keys().map(Key::to_value)),
            other => Err(EvalError::new(
                EvalErrorReason::NoSuchOverload,
                format!("a macro goes over a list or a map, not {}", other.type_name()),
            )
            .at(looped.range.offset)),
        }
    }

    fn eval_rounds(&mut self, looped: &Loop, elements: impl Iterator<Item = Value>) -> Result<Value, EvalError> {
        match &looped.kind {
            LoopKind::All => self.eval_quantifier(looped, elements, false),
            LoopKind::Exists => self.eval_quantifier(looped, elements, true),
            LoopKind::ExistsOne => {
                let mut found = 0;
                for element in elements {
                    found += usize::from(self.eval_round(looped, element, Self::condition)?);
                }
                Ok(Value::Bool(found == 1))
            }
            LoopKind::Collect(transform) => {
                let mut growing = Growing::new(&mut self.budget)?;
                let mut values = Vec::new();
                for element in elements {
                    let value = self.eval_round(looped, element, |evaluation, looped| {
                        evaluation.condition(looped)?.then(|| evaluation.eval(transform)).transpose()
                    })?;
                    if let Some(value) = value {
                        growing.add(&value, &mut self.budget)?;
                        values.push(value);
                    }
                }
                Ok(Value::list(values))
            }
        }
    }

    /// `all` and `exists` are chains of `&&` and `||`: an element that decides, decides despite errors at others.
    fn eval_quantifier(
        &mut self,
        looped: &Loop,
        elements: impl Iterator<Item = Value>,
        deciding: bool,
    ) -> Result<Value, EvalError> {
        let mut first_error = None;
        for element in elements {
            match self.eval_round(looped, element, Self::condition) {
                Ok(value) if value == deciding => return Ok(Value::Bool(deciding)),
                Ok(_) => {}
                Err(error) if error.reason == EvalErrorReason::BudgetExceeded => return Err(error),
                Err(error) => {
                    self.budget.failure()?;
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn eval_round<T>(
        &mut self,
        looped: &Loop,
        element: Value,
        body: impl FnOnce(&mut Self, &Loop) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        self.budget.step()?;
        self.locals.push(element);
        let result = body(self, looped);
        self.locals.pop();
        result
    }

    fn condition(&mut self, looped: &Loop) -> Result<bool, EvalError> {
        looped.condition.as_ref().map_or(Ok(true), |condition| self.eval_bool(condition, "the condition of a macro"))
    }
}

/// The size of a list or map that is being made.
struct Growing {
    bytes: u64,
}

impl Growing {
    fn new(budget: &mut Budget) -> Result<Self, EvalError> {
        budget.allocate(VALUE_BYTES)?;
        Ok(Self { bytes: VALUE_BYTES })
    }

    fn add(&mut self, value: &Value, budget: &mut Budget) -> Result<(), EvalError> {
        if value.depth() >= VALUE_DEPTH_MAX {
            return Err(exceeded(format!("it would make a value nested deeper than {VALUE_DEPTH_MAX} levels")));
        }
        self.bytes = self.bytes.saturating_add(value.logical_bytes());
        if self.bytes > VALUE_BYTES_MAX {
            return Err(exceeded(format!("it would make a value of more than {VALUE_BYTES_MAX} bytes")));
        }
        budget.allocate(value.logical_bytes())
    }
}

fn select(operand: &Value, field: &Arc<str>) -> Result<Value, EvalError> {
    match operand {
        Value::Map(map) => map.field(field).cloned().ok_or_else(|| no_such_field(field)),
        other => Err(not_an_object(other, field)),
    }
}

fn has(operand: &Value, field: &Arc<str>) -> Result<Value, EvalError> {
    match operand {
        Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
        other => Err(not_an_object(other, field)),
    }
}

fn negate(operand: &Value) -> Result<Value, EvalError> {
    match operand {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| overflow("int")),
        Value::Double(value) => Ok(Value::Double(-value)),
        other => Err(EvalError::new(
            EvalErrorReason::NoSuchOverload,
            format!("`-` takes a number, not {}", other.type_name()),
        )),
    }
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value, EvalError> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => {
            if matches!(operator, Operator::Divide | Operator::Modulo) && *right == 0 {
                return Err(EvalError::new(EvalErrorReason::DivisionByZero, format!("{left} {operator} 0")));
            }
            let result = match operator {
                Operator::Add => left.checked_add(*right),
                Operator::Subtract => left.checked_sub(*right),
                Operator::Multiply => left.checked_mul(*right),
                Operator::Divide => left.checked_div(*right),
                _ => left.checked_rem(*right),
            };
            result.map(Value::Int).ok_or_else(|| overflow("int"))
        }
        (Value::Double(left), Value::Double(right)) => match operator {
            Operator::Add => Ok(Value::Double(left + right)),
            Operator::Subtract => Ok(Value::Double(left - right)),
            Operator::Multiply => Ok(Value::Double(left * right)),
            Operator::Divide => Ok(Value::Double(left / right)),
            _ => Err(EvalError::new(EvalErrorReason::NoSuchOverload, "`%` takes whole numbers; convert with int(…)")),
        },
        _ => match (operator, time::subtract(left, right)) {
            (Operator::Subtract, Some(result)) => result,
            _ => Err(no_such_operator(operator, left, right)),
        },
    }
}

fn no_such_operator(operator: Operator, left: &Value, right: &Value) -> EvalError {
    EvalError::new(
        EvalErrorReason::NoSuchOverload,
        format!("`{operator}` does not take {} and {}; convert one of them", left.type_name(), right.type_name()),
    )
}

fn not_bool(operator: &str, found: &Value) -> EvalError {
    EvalError::new(EvalErrorReason::NoSuchOverload, format!("`{operator}` takes a bool, not {}", found.type_name()))
}

fn no_such_field(field: &str) -> EvalError {
    EvalError::new(
        EvalErrorReason::NoSuchField,
        format!("no such field `{}`; guard it with has()", functions::shown(field)),
    )
}

fn not_an_object(found: &Value, field: &str) -> EvalError {
    EvalError::new(
        EvalErrorReason::NoSuchOverload,
        format!("{} has no fields, so there is no `{field}`", found.type_name()),
    )
}
