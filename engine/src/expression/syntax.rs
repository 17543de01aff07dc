//! A scan over the tokens of a source before it is parsed: the parser recurses, and scans ahead from each bracket,
//! so it only ever sees text whose brackets match and whose nesting is bounded.

use cel::parser::pratt_parser::{Lexer, Token, TokenKind};

use super::ExpressionError;
use super::budget::{SOURCE_BYTES_MAX, SYNTAX_DEPTH_MAX};

/// Refuses a source which is too long or too deeply nested, has unmatched brackets or is no sequence of tokens.
pub(super) fn scan(source: &str) -> Result<(), ExpressionError> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(ExpressionError::new(
            format!("the expression has {} bytes; at most {SOURCE_BYTES_MAX} are allowed", source.len()),
            None,
        ));
    }
    let mut lexer = Lexer::new(source);
    let mut levels = vec![Level::new(None, false)];
    let mut follows_operand = false;
    loop {
        let token = lexer.lex();
        match token.kind {
            TokenKind::TokEnd => break,
            TokenKind::TokError => {
                let message = lexer.get_error().map_or("not a token", |error| &error.message);
                return Err(ExpressionError::new(message.to_owned(), Some(token.start)));
            }
            TokenKind::TokLeftParen | TokenKind::TokLeftBracket | TokenKind::TokLeftBrace => {
                levels.push(Level::new(Some(token), follows_operand));
                if levels.len() > SYNTAX_DEPTH_MAX {
                    return Err(too_deep(token));
                }
            }
            TokenKind::TokRightParen | TokenKind::TokRightBracket | TokenKind::TokRightBrace => {
                close(source, &mut levels, token)?;
            }
            kind => {
                if let Some(level) = levels.last_mut() {
                    level.take(kind);
                }
            }
        }
        if !matches!(token.kind, TokenKind::TokWhitespace | TokenKind::TokComment) {
            follows_operand = ends_operand(token.kind);
        }
        if levels.last().is_some_and(|level| level.depth() > SYNTAX_DEPTH_MAX) {
            return Err(too_deep(token));
        }
    }
    match levels.pop().and_then(|level| level.opening) {
        None => Ok(()),
        Some(opening) => {
            Err(ExpressionError::new(format!("`{}` is never closed", opening.kind.as_str()), Some(opening.start)))
        }
    }
}

fn close(source: &str, levels: &mut Vec<Level>, token: Token) -> Result<(), ExpressionError> {
    let closed = levels.pop();
    let opening = closed.as_ref().and_then(|level| level.opening).map(|token| token.kind);
    let expected = match token.kind {
        TokenKind::TokRightParen => TokenKind::TokLeftParen,
        TokenKind::TokRightBracket => TokenKind::TokLeftBracket,
        _ => TokenKind::TokLeftBrace,
    };
    match (closed, levels.last_mut()) {
        (Some(closed), Some(parent)) if opening == Some(expected) => {
            parent.child = parent.child.max(closed.depth());
            // A call or an index wraps what stands before it.
            parent.links += usize::from(closed.follows_operand);
            Ok(())
        }
        _ => Err(ExpressionError::new(
            format!("`{}` closes nothing", &source[token.start..token.end]),
            Some(token.start),
        )),
    }
}

fn ends_operand(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::TokIdent
            | TokenKind::TokReservedWord
            | TokenKind::TokRightParen
            | TokenKind::TokRightBracket
            | TokenKind::TokRightBrace
            | TokenKind::TokString
            | TokenKind::TokBytes
    )
}

fn too_deep(token: Token) -> ExpressionError {
    ExpressionError::new(
        format!(
            "nested more than {SYNTAX_DEPTH_MAX} levels deep, chains of operators included; split it, or use a list \
             with `exists`, `join` or `sum`"
        ),
        Some(token.start),
    )
}

/// What is known about the tree between two brackets. Each part may only overestimate its depth.
struct Level {
    opening: Option<Token>,
    /// Whether the opening bracket stands after an operand, as that of a call or an index does.
    follows_operand: bool,
    /// The deepest finished element of a list of elements.
    elements: usize,
    /// The deepest finished operand of the current element.
    operands: usize,
    /// The deepest bracket within the current operand.
    child: usize,
    /// Operators, selections and brackets in the current operand, each of which may wrap all before it.
    links: usize,
    /// Conditionals of the current element, which nest to the right.
    conditionals: usize,
    /// `&&` and `||` of the current element, of which the parser makes balanced trees.
    logical: usize,
}

impl Level {
    fn new(opening: Option<Token>, follows_operand: bool) -> Self {
        Self { opening, follows_operand, elements: 0, operands: 0, child: 0, links: 0, conditionals: 0, logical: 0 }
    }

    fn take(&mut self, kind: TokenKind) {
        match kind {
            TokenKind::TokComma => {
                self.elements = self.elements.max(self.element_depth());
                (self.operands, self.child, self.links) = (0, 0, 0);
                (self.conditionals, self.logical) = (0, 0);
            }
            TokenKind::TokQuestion => {
                self.end_operand();
                self.conditionals += 1;
            }
            TokenKind::TokColon => self.end_operand(),
            TokenKind::TokLogicalAnd | TokenKind::TokLogicalOr => {
                self.end_operand();
                self.logical += 1;
            }
            TokenKind::TokDot
            | TokenKind::TokMinus
            | TokenKind::TokPlus
            | TokenKind::TokAsterisk
            | TokenKind::TokSlash
            | TokenKind::TokPercent
            | TokenKind::TokExclamation
            | TokenKind::TokEqualEqual
            | TokenKind::TokExclamationEqual
            | TokenKind::TokLess
            | TokenKind::TokLessEqual
            | TokenKind::TokGreater
            | TokenKind::TokGreaterEqual
            | TokenKind::TokIn => self.links += 1,
            _ => {}
        }
    }

    fn end_operand(&mut self) {
        self.operands = self.operands.max(self.child + self.links);
        (self.child, self.links) = (0, 0);
    }

    fn element_depth(&self) -> usize {
        let logical_levels = (usize::BITS - self.logical.leading_zeros()) as usize;
        // Twice, for a chain of `||` may hold chains of `&&`.
        self.operands.max(self.child + self.links) + self.conditionals + 2 * logical_levels
    }

    fn depth(&self) -> usize {
        self.elements.max(self.element_depth()) + 1
    }
}
