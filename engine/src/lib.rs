//! Placeholder.

pub mod expression;
