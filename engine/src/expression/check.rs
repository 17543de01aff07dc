//! The checker: finds the type of each part of an expression before it runs, and refuses what cannot work.

use std::sync::Arc;

use super::functions::{Function, check_call};
use super::node::{Loop, LoopKind, Node, NodeKind, Operator};
use super::pattern::Pattern;
use super::static_type::Type;
use super::value::Value;
use super::{ExpressionError, Scope};

/// The type of the tree's result.
pub(super) fn check(root: &Node, scope: &Scope) -> Result<Type, ExpressionError> {
    Check { scope, locals: Vec::new() }.check(root)
}

struct Check<'a> {
    scope: &'a Scope,
    /// The types of the elements of the enclosing loops.
    locals: Vec<Type>,
}

impl Check<'_> {
    fn check(&mut self, node: &Node) -> Result<Type, ExpressionError> {
        match &node.kind {
            NodeKind::Literal(value) => Ok(type_of(value)),
            NodeKind::Variable(name) => self.variable(name, node),
            NodeKind::Local(slot) => Ok(self.locals.get(*slot).cloned().unwrap_or(Type::Dyn)),
            NodeKind::Select { operand, field } => {
                let ty = self.check(operand)?;
                field_type(&ty, field, operand, node)
            }
            NodeKind::Has { operand, field } => {
                let ty = self.check(operand)?;
                field_type(&ty, field, operand, node).map(|_| Type::Bool)
            }
            NodeKind::Index { operand, index } => self.check_index(operand, index, node),
            NodeKind::Not(operand) => self.expect_bool(operand, "!").map(|()| Type::Bool),
            NodeKind::Negate(operand) => match self.check(operand)? {
                ty @ (Type::Int | Type::Double | Type::Dyn) => Ok(ty),
                other => Err(refused(format!("`-` takes a number, not {other}"), node)),
            },
            NodeKind::And(operands) => self.check_logical(operands, "&&"),
            NodeKind::Or(operands) => self.check_logical(operands, "||"),
            NodeKind::Conditional(operands) => {
                let [condition, yes, no] = operands.as_ref();
                self.expect_bool(condition, "? :")?;
                Ok(self.check(yes)?.join(&self.check(no)?))
            }
            NodeKind::Binary { operator, operands } => self.check_binary(*operator, operands, node),
            NodeKind::List(elements) => {
                let mut joined = None;
                for element in elements {
                    let ty = self.check(element)?;
                    joined = Some(joined.map_or(ty.clone(), |joined: Type| joined.join(&ty)));
                }
                Ok(Type::List(Arc::new(joined.unwrap_or(Type::Dyn))))
            }
            NodeKind::Map(entries) => self.check_map(entries),
            NodeKind::Call { function, arguments } => self.check_call(*function, arguments, node),
            NodeKind::Loop(looped) => self.check_loop(looped),
        }
    }

    fn variable(&self, name: &str, node: &Node) -> Result<Type, ExpressionError> {
        self.scope.0.get(name).cloned().ok_or_else(|| {
            refused(format!("there is no variable `{name}`{}", known("there is", self.scope.0.keys())), node)
        })
    }

    fn expect_bool(&mut self, node: &Node, operator: &str) -> Result<(), ExpressionError> {
        match self.check(node)? {
            Type::Bool | Type::Dyn => Ok(()),
            other => Err(refused(format!("`{operator}` takes a bool, not {other}; compare it with something"), node)),
        }
    }

    fn check_logical(&mut self, operands: &[Node; 2], operator: &str) -> Result<Type, ExpressionError> {
        for operand in operands {
            self.expect_bool(operand, operator)?;
        }
        Ok(Type::Bool)
    }

    fn check_index(&mut self, operand: &Node, index: &Node, node: &Node) -> Result<Type, ExpressionError> {
        let (ty, index_type) = (self.check(operand)?, self.check(index)?);
        match (&ty, &index_type) {
            (Type::Dyn, _) => Ok(Type::Dyn),
            (Type::List(element), Type::Int | Type::Double | Type::Dyn) => Ok(element.as_ref().clone()),
            (Type::Map(value), Type::String | Type::Int | Type::Double | Type::Bool | Type::Dyn) => {
                Ok(value.as_ref().clone())
            }
            (Type::Object { .. }, Type::String | Type::Dyn) => match &index.kind {
                NodeKind::Literal(Value::String(field)) => field_type(&ty, field, operand, index),
                _ => Ok(Type::Dyn),
            },
            _ => Err(refused(format!("{ty} cannot be indexed by {index_type}"), node)),
        }
    }

    fn check_binary(&mut self, operator: Operator, operands: &[Node; 2], node: &Node) -> Result<Type, ExpressionError> {
        let [left, right] = operands;
        let (left_type, right_type) = (self.check(left)?, self.check(right)?);
        let result = match operator {
            Operator::Equal | Operator::NotEqual => left_type.is_comparable(&right_type).then_some(Type::Bool),
            Operator::In => is_in(&left_type, &right_type).then_some(Type::Bool),
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
                are_ordered(&left_type, &right_type).then_some(Type::Bool)
            }
            Operator::Add => add(&left_type, &right_type),
            Operator::Subtract => subtract(&left_type, &right_type),
            Operator::Multiply | Operator::Divide => same_number(&left_type, &right_type),
            Operator::Modulo => same_number(&left_type, &right_type).filter(|ty| *ty != Type::Double),
        };
        result.ok_or_else(|| {
            let advice = advice(operator, (left, &left_type), (right, &right_type));
            refused(format!("`{operator}` does not take {left_type} and {right_type}; {advice}"), node)
        })
    }

    fn check_map(&mut self, entries: &[[Node; 2]]) -> Result<Type, ExpressionError> {
        let mut joined = None;
        for [key, value] in entries {
            match self.check(key)? {
                Type::String | Type::Int | Type::Bool | Type::Dyn => {}
                other => return Err(refused(format!("a key is a string, an int or a bool, not {other}"), key)),
            }
            let ty = self.check(value)?;
            joined = Some(joined.map_or(ty.clone(), |joined: Type| joined.join(&ty)));
        }
        Ok(Type::Map(Arc::new(joined.unwrap_or(Type::Dyn))))
    }

    fn check_call(&mut self, function: Function, arguments: &[Node], node: &Node) -> Result<Type, ExpressionError> {
        let types = arguments.iter().map(|argument| self.check(argument)).collect::<Result<Vec<_>, _>>()?;
        if let (Function::Matches, [_, Node { kind: NodeKind::Literal(Value::String(regex)), offset }]) =
            (function, arguments)
        {
            Pattern::compile(regex).map_err(|error| ExpressionError::new(error.message, Some(*offset)))?;
        }
        check_call(function, &types).map_err(|message| refused(message, node))
    }

    fn check_loop(&mut self, looped: &Loop) -> Result<Type, ExpressionError> {
        let element = match self.check(&looped.range)? {
            Type::List(element) => element.as_ref().clone(),
            Type::Object { .. } => Type::String,
            Type::Map(_) | Type::Dyn => Type::Dyn,
            other => return Err(refused(format!("a macro goes over a list or a map, not {other}"), &looped.range)),
        };
        self.locals.push(element);
        let result = self.check_body(looped);
        self.locals.pop();
        result
    }

    fn check_body(&mut self, looped: &Loop) -> Result<Type, ExpressionError> {
        if let Some(condition) = &looped.condition {
            self.expect_bool(condition, "the condition of a macro")?;
        }
        match &looped.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => Ok(Type::Bool),
            LoopKind::Collect(element) => Ok(Type::List(Arc::new(self.check(element)?))),
        }
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        Value::Timestamp(_) => Type::Timestamp,
        Value::Duration(_) => Type::Duration,
        Value::List(_) => Type::List(Arc::new(Type::Dyn)),
        Value::Map(_) => Type::Map(Arc::new(Type::Dyn)),
    }
}

fn field_type(ty: &Type, field: &str, operand: &Node, node: &Node) -> Result<Type, ExpressionError> {
    match ty {
        Type::Dyn => Ok(Type::Dyn),
        Type::Map(value) => Ok(value.as_ref().clone()),
        Type::Object { fields, open } => match fields.get(field) {
            Some(ty) => Ok(ty.clone()),
            None if *open => Ok(Type::Dyn),
            None => {
                let object =
                    operand.path().map_or_else(|| "this object".to_owned(), |path| format!("`{}`", path.join(".")));
                Err(refused(format!("{object} has no field `{field}`{}", known("it has", fields.keys())), node))
            }
        },
        other => Err(refused(format!("{other} has no fields, so there is no `{field}`"), node)),
    }
}

fn are_ordered(left: &Type, right: &Type) -> bool {
    let has_order = |ty: &Type| !matches!(ty, Type::Null | Type::List(_) | Type::Map(_) | Type::Object { .. });
    has_order(left) && has_order(right) && left.is_comparable(right)
}

fn is_in(element: &Type, container: &Type) -> bool {
    match container {
        Type::Dyn => true,
        Type::List(candidate) => element.is_comparable(candidate),
        Type::Map(_) => matches!(element, Type::Dyn | Type::String | Type::Int | Type::Double | Type::Bool),
        Type::Object { .. } => matches!(element, Type::Dyn | Type::String),
        _ => false,
    }
}

fn add(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::String, Type::String | Type::Dyn) | (Type::Dyn, Type::String) => Some(Type::String),
        (Type::Bytes, Type::Bytes | Type::Dyn) | (Type::Dyn, Type::Bytes) => Some(Type::Bytes),
        (Type::Timestamp, Type::Duration | Type::Dyn) | (Type::Duration | Type::Dyn, Type::Timestamp) => {
            Some(Type::Timestamp)
        }
        (Type::Duration, Type::Duration) => Some(Type::Duration),
        (Type::Duration, Type::Dyn) | (Type::Dyn, Type::Duration) => Some(Type::Dyn),
        (Type::List(left), Type::List(right)) => Some(Type::List(Arc::new(left.as_ref().clone().join(right)))),
        (Type::List(_), Type::Dyn) | (Type::Dyn, Type::List(_)) => Some(Type::List(Arc::new(Type::Dyn))),
        _ => same_number(left, right),
    }
}

fn subtract(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Timestamp | Type::Dyn, Type::Timestamp) | (Type::Duration, Type::Duration | Type::Dyn) => {
            Some(Type::Duration)
        }
        (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
        (Type::Timestamp, Type::Dyn) | (Type::Dyn, Type::Duration) => Some(Type::Dyn),
        _ => same_number(left, right),
    }
}

fn same_number(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::Dyn, Type::Dyn) => Some(Type::Dyn),
        (Type::Int, Type::Int | Type::Dyn) | (Type::Dyn, Type::Int) => Some(Type::Int),
        (Type::Double, Type::Double | Type::Dyn) | (Type::Dyn, Type::Double) => Some(Type::Double),
        _ => None,
    }
}

fn advice(operator: Operator, left: (&Node, &Type), right: (&Node, &Type)) -> String {
    if operator == Operator::Modulo && [left.1, right.1].contains(&&Type::Double) {
        return "convert with int(…)".to_owned();
    }
    for ((node, ty), (_, other)) in [(left, right), (right, left)] {
        if let (NodeKind::Literal(Value::Int(number)), Type::Double) = (&node.kind, other) {
            return format!("write `{number}.0`");
        }
        if *ty == Type::String && *other != Type::String && operator == Operator::Add {
            return "convert with string(…)".to_owned();
        }
    }
    if left.1.is_number() && right.1.is_number() {
        return "convert one with double(…) or int(…)".to_owned();
    }
    match operator {
        Operator::Equal | Operator::NotEqual => "they are never equal".to_owned(),
        Operator::In => "the right side is a list of such values, or a map".to_owned(),
        _ => "convert one of them".to_owned(),
    }
}

/// Says which names there are, where that helps.
fn known<'a>(introduction: &str, names: impl ExactSizeIterator<Item = &'a String>) -> String {
    /// Names in a message: more are not read.
    const SHOWN_MAX: usize = 12;
    let more = if names.len() > SHOWN_MAX { ", …" } else { "" };
    let names: Vec<String> = names.take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    if names.is_empty() { String::new() } else { format!("; {introduction} {}{more}", names.join(", ")) }
}

fn refused(message: impl Into<String>, node: &Node) -> ExpressionError {
    ExpressionError::new(message, Some(node.offset))
}
