//! The tree that is checked and evaluated: the parser's, with names resolved and macros recognised.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::functions::Function;
use super::value::Value;

/// A part of an expression and where it stands in the source.
pub(super) struct Node {
    pub(super) offset: usize,
    pub(super) kind: NodeKind,
}

pub(super) enum NodeKind {
    Literal(Value),
    /// A variable of the scope.
    Variable(Arc<str>),
    /// The variable of an enclosing loop, by its place among those.
    Local(usize),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
    },
    /// `has(operand.field)`
    Has {
        operand: Box<Node>,
        field: Arc<str>,
    },
    Index {
        operand: Box<Node>,
        index: Box<Node>,
    },
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Conditional(Box<[Node; 3]>),
    Binary {
        operator: Operator,
        operands: Box<[Node; 2]>,
    },
    List(Vec<Node>),
    Map(Vec<[Node; 2]>),
    /// A function, its receiver being the first argument.
    Call {
        function: Function,
        arguments: Vec<Node>,
    },
    Loop(Box<Loop>),
}

/// One of the macros over a list or the keys of a map.
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) range: Node,
    /// What is asked of each element; `map` without a filter asks nothing.
    pub(super) condition: Option<Node>,
}

pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    /// `map` and `filter`, with what becomes of each element.
    Collect(Node),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::In => "in",
        })
    }
}

impl Node {
    /// Collects the qualified names that the tree reads, each as long as it is written out.
    pub(super) fn collect_paths(&self, paths: &mut BTreeSet<Vec<String>>) {
        if let Some(path) = self.path() {
            paths.insert(path);
            return;
        }
        self.visit_children(&mut |child| child.collect_paths(paths));
    }

    /// The qualified name which this is, root first.
    pub(super) fn path(&self) -> Option<Vec<String>> {
        let mut path = Vec::new();
        let mut node = self;
        loop {
            node = match &node.kind {
                NodeKind::Variable(name) => {
                    path.push(name.to_string());
                    path.reverse();
                    return Some(path);
                }
                NodeKind::Select { operand, field } | NodeKind::Has { operand, field } => {
                    path.push(field.to_string());
                    operand
                }
                NodeKind::Index { operand, index } => {
                    let NodeKind::Literal(Value::String(field)) = &index.kind else { return None };
                    path.push(field.to_string());
                    operand
                }
                _ => return None,
            }
        }
    }

    fn visit_children(&self, visit: &mut impl FnMut(&Node)) {
        match &self.kind {
            NodeKind::Literal(_) | NodeKind::Variable(_) | NodeKind::Local(_) => {}
            NodeKind::Select { operand, .. }
            | NodeKind::Has { operand, .. }
            | NodeKind::Not(operand)
            | NodeKind::Negate(operand) => visit(operand),
            NodeKind::Index { operand, index } => {
                visit(operand);
                visit(index);
            }
            NodeKind::And(operands) | NodeKind::Or(operands) | NodeKind::Binary { operands, .. } => {
                operands.iter().for_each(visit);
            }
            NodeKind::Conditional(operands) => operands.iter().for_each(visit),
            NodeKind::List(nodes) | NodeKind::Call { arguments: nodes, .. } => nodes.iter().for_each(visit),
            NodeKind::Map(entries) => entries.iter().flatten().for_each(visit),
            NodeKind::Loop(looped) => {
                visit(&looped.range);
                looped.condition.iter().for_each(&mut *visit);
                if let LoopKind::Collect(element) = &looped.kind {
                    visit(element);
                }
            }
        }
    }
}
