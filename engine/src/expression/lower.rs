//! From the parser's tree to Quorate's: macros are recognised by what the parser makes of them, names are resolved, and
//! what is not supported is refused.

use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::parser::{ParseErrors, PrattParser};

use super::ExpressionError;
use super::functions::find_function;
use super::node::{Loop, LoopKind, Node, NodeKind, Operator};
use super::value::Value;

/// Parses a source that has passed [`super::syntax::scan`].
pub(super) fn parse(source: &str) -> Result<Node, ExpressionError> {
    let tree = parser().parse(source).map_err(|errors| first_error(source, &errors))?;
    let info = source_info(source);
    Lowering { source, info: info.as_deref(), locals: Vec::new() }.lower(&tree)
}

fn parser() -> PrattParser {
    PrattParser::new()
        // The scan has bounded the depth; the parser's own bound would only give a worse message.
        .max_recursion_depth(u16::MAX)
        // The first error is reported, so nothing is gained by going on after it.
        .error_recovery_limit(0)
        .enable_ident_escape_syntax(true)
}

/// Where each node stands. The parser tells this only together with an error, so it is given one to report, after
/// the whole source: a bracket that closes nothing, on a line of its own because of comments. Nodes are numbered
/// in the order of the source, so that they have the same numbers.
fn source_info(source: &str) -> Option<Arc<SourceInfo>> {
    let errors = parser().parse(&format!("{source}\n)")).err()?;
    errors.errors.into_iter().find_map(|error| error.source_info)
}

fn first_error(source: &str, errors: &ParseErrors) -> ExpressionError {
    let Some(error) = errors.errors.iter().find(|error| error.pos.0 > 0).or(errors.errors.first()) else {
        return ExpressionError::new("not an expression", None);
    };
    let (line, column) = error.pos;
    let offset = usize::try_from(line - 1).ok().zip(usize::try_from(column - 1).ok()).map(|(line, column)| {
        let before: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
        (before + column).min(source.len())
    });
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg).replace("<EOF>", "the end");
    ExpressionError::new(message, offset)
}

struct Lowering<'a> {
    source: &'a str,
    info: Option<&'a SourceInfo>,
    /// The variables of the enclosing loops, outermost first.
    locals: Vec<&'a str>,
}

impl<'a> Lowering<'a> {
    fn lower(&mut self, tree: &'a IdedExpr) -> Result<Node, ExpressionError> {
        let offset = self.offset(tree.id);
        let kind = match &tree.expr {
            Expr::Literal(literal) => NodeKind::Literal(lower_literal(literal, offset)?),
            Expr::Ident(name) => self.resolve(name),
            Expr::Select(select) => {
                let operand = Box::new(self.lower(&select.operand)?);
                let field = select.field.as_str().into();
                if select.test { NodeKind::Has { operand, field } } else { NodeKind::Select { operand, field } }
            }
            Expr::List(list) => NodeKind::List(self.lower_all(&list.elements)?),
            Expr::Map(map) => {
                let entries = map.entries.iter().map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => Ok([self.lower(&entry.key)?, self.lower(&entry.value)?]),
                    EntryExpr::StructField(_) => Err(unsupported("a message", offset)),
                });
                NodeKind::Map(entries.collect::<Result<_, _>>()?)
            }
            Expr::Call(call) => return self.lower_call(call, offset),
            Expr::Comprehension(comprehension) => self.lower_loop(comprehension, offset)?,
            Expr::Struct(message) => {
                return Err(ExpressionError::new(
                    format!(
                        "`{}{{…}}` makes a message, which is not supported; write a map: `{{'a': 1}}`",
                        message.type_name
                    ),
                    Some(offset),
                ));
            }
            Expr::Unspecified => return Err(unsupported("this", offset)),
        };
        Ok(Node { offset, kind })
    }

    fn lower_all(&mut self, trees: &'a [IdedExpr]) -> Result<Vec<Node>, ExpressionError> {
        trees.iter().map(|tree| self.lower(tree)).collect()
    }

    fn resolve(&self, name: &'a str) -> NodeKind {
        // A leading dot means the scope's variable, whatever the loops around call theirs.
        if let Some(absolute) = name.strip_prefix('.') {
            return NodeKind::Variable(absolute.into());
        }
        match self.locals.iter().rposition(|local| *local == name) {
            Some(slot) => NodeKind::Local(slot),
            None => NodeKind::Variable(name.into()),
        }
    }

    fn lower_call(&mut self, call: &'a CallExpr, offset: usize) -> Result<Node, ExpressionError> {
        let receiver = call.target.as_deref().map(|target| self.lower(target)).transpose()?;
        let arguments = self.lower_all(&call.args)?;
        if let Some(receiver) = receiver {
            let offset = self.name_offset(&call.func_name, offset);
            let arguments: Vec<Node> = std::iter::once(receiver).chain(arguments).collect();
            return call_node(&call.func_name, true, arguments, offset);
        }
        lower_operator(&call.func_name, arguments, offset)
    }

    fn lower_loop(&mut self, tree: &'a ComprehensionExpr, offset: usize) -> Result<NodeKind, ExpressionError> {
        let (kind, condition) = recognise(tree).ok_or_else(|| unsupported("this macro", offset))?;
        let range = self.lower(&tree.iter_range)?;
        if tree.iter_var.starts_with('.') {
            return Err(ExpressionError::new("the variable of a macro must be a simple name", Some(offset)));
        }
        self.locals.push(&tree.iter_var);
        let condition = condition.map(|condition| self.lower(condition)).transpose()?;
        let kind = match kind {
            Macro::All => LoopKind::All,
            Macro::Exists => LoopKind::Exists,
            Macro::ExistsOne => LoopKind::ExistsOne,
            Macro::Collect(element) => LoopKind::Collect(self.lower(element)?),
        };
        self.locals.pop();
        Ok(NodeKind::Loop(Box::new(Loop { kind, range, condition })))
    }

    fn offset(&self, id: u64) -> usize {
        self.info.and_then(|info| info.offset_for(id)).map_or(0, |(start, _)| start as usize)
    }

    /// The parser places a method at its opening bracket; people look for its name.
    fn name_offset(&self, name: &str, bracket: usize) -> usize {
        match self.source.get(..bracket) {
            Some(before) if before.ends_with(name) => bracket - name.len(),
            _ => bracket,
        }
    }
}

/// What a macro was before the parser expanded it, with the parts that were written by hand.
enum Macro<'a> {
    All,
    Exists,
    ExistsOne,
    Collect(&'a IdedExpr),
}

fn recognise(tree: &ComprehensionExpr) -> Option<(Macro<'_>, Option<&IdedExpr>)> {
    let Expr::Call(step) = &tree.loop_step.expr else { return None };
    match (&tree.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
        (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_AND, [_, condition]) => {
            Some((Macro::All, Some(condition)))
        }
        (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_OR, [_, condition]) => {
            Some((Macro::Exists, Some(condition)))
        }
        (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [condition, _, _]) => {
            Some((Macro::ExistsOne, Some(condition)))
        }
        (Expr::List(_), operators::CONDITIONAL, [condition, IdedExpr { expr: Expr::Call(append), .. }, _]) => {
            Some((Macro::Collect(appended(append)?), Some(condition)))
        }
        (Expr::List(_), operators::ADD, _) => Some((Macro::Collect(appended(step)?), None)),
        _ => None,
    }
}

/// The element in `@result + [element]`.
fn appended(append: &CallExpr) -> Option<&IdedExpr> {
    let [_, IdedExpr { expr: Expr::List(list), .. }] = append.args.as_slice() else { return None };
    list.elements.first()
}

fn lower_literal(literal: &LiteralValue, offset: usize) -> Result<Value, ExpressionError> {
    Ok(match literal {
        LiteralValue::Null => Value::Null,
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Double(value) => Value::Double(*value.inner()),
        // No store keeps it, and there is no other way for it into a text: what is read comes from a store.
        LiteralValue::String(value) if value.inner().contains('\0') => {
            return Err(ExpressionError::new("a text cannot hold the character U+0000", Some(offset)));
        }
        LiteralValue::String(value) => value.inner().into(),
        LiteralValue::Bytes(value) => Value::Bytes(value.inner().into()),
        LiteralValue::UInt(value) => {
            return Err(ExpressionError::new(
                format!("unsigned numbers are not supported; write `{}`", value.inner()),
                Some(offset),
            ));
        }
    })
}

fn lower_operator(name: &str, arguments: Vec<Node>, offset: usize) -> Result<Node, ExpressionError> {
    let kind = match name {
        operators::CONDITIONAL => NodeKind::Conditional(Box::new(exactly(arguments, offset)?)),
        operators::LOGICAL_AND => NodeKind::And(Box::new(exactly(arguments, offset)?)),
        operators::LOGICAL_OR => NodeKind::Or(Box::new(exactly(arguments, offset)?)),
        operators::LOGICAL_NOT => {
            let [operand] = exactly(arguments, offset)?;
            NodeKind::Not(Box::new(operand))
        }
        operators::NEGATE => {
            let [operand] = exactly(arguments, offset)?;
            NodeKind::Negate(Box::new(operand))
        }
        operators::INDEX => {
            let [operand, index] = exactly(arguments, offset)?;
            NodeKind::Index { operand: Box::new(operand), index: Box::new(index) }
        }
        _ => match binary_operator(name) {
            Some(operator) => NodeKind::Binary { operator, operands: Box::new(exactly(arguments, offset)?) },
            None => return call_node(name, false, arguments, offset),
        },
    };
    Ok(Node { offset, kind })
}

fn binary_operator(name: &str) -> Option<Operator> {
    Some(match name {
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Modulo,
        operators::EQUALS => Operator::Equal,
        operators::NOT_EQUALS => Operator::NotEqual,
        operators::LESS => Operator::Less,
        operators::LESS_EQUALS => Operator::LessEqual,
        operators::GREATER => Operator::Greater,
        operators::GREATER_EQUALS => Operator::GreaterEqual,
        operators::IN => Operator::In,
        _ => return None,
    })
}

fn call_node(name: &str, method: bool, arguments: Vec<Node>, offset: usize) -> Result<Node, ExpressionError> {
    let function =
        find_function(name, method, arguments.len()).map_err(|message| ExpressionError::new(message, Some(offset)))?;
    Ok(Node { offset, kind: NodeKind::Call { function, arguments } })
}

fn exactly<const N: usize>(arguments: Vec<Node>, offset: usize) -> Result<[Node; N], ExpressionError> {
    arguments.try_into().map_err(|_| unsupported("an operator with so many operands", offset))
}

fn unsupported(what: &str, offset: usize) -> ExpressionError {
    ExpressionError::new(format!("{what} is not supported"), Some(offset))
}
