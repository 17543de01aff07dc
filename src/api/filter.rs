//! Filters of lists: terms `field = value` joined by AND.

use std::collections::BTreeMap;

use tonic::Status;

use super::errors;

/// How long a filter may be, in bytes.
const FILTER_BYTES_MAX: usize = 1_024;

/// The terms of a filter by field. A field that is not in `known` is refused with the list of those that are, and so is one that
/// is named twice. A value may stand in double quotes.
pub(super) fn parse<'f>(filter: &'f str, known: &[&str]) -> Result<BTreeMap<&'f str, &'f str>, Status> {
    super::call::check_text("filter", filter, FILTER_BYTES_MAX)?;
    let mut terms = BTreeMap::new();
    for term in filter.split(" AND ").map(str::trim).filter(|_| !filter.trim().is_empty()) {
        let Some((field, value)) = term.split_once('=') else {
            return Err(errors::invalid_field("filter", format!("`{term}` is not of the form `field = value`")));
        };
        let (field, value) = (field.trim(), value.trim().trim_matches('"'));
        if !known.contains(&field) {
            let known = known.join(", ");
            return Err(errors::invalid_field("filter", format!("there is no field `{field}`: use {known}")));
        }
        if terms.insert(field, value).is_some() {
            return Err(errors::invalid_field("filter", format!("`{field}` is named twice")));
        }
    }
    Ok(terms)
}

/// A term's value read as something; the refusal names the field and the values it may have.
pub(super) fn read<T>(
    terms: &BTreeMap<&str, &str>,
    field: &str,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Status> {
    terms
        .get(field)
        .map(|value| {
            read(value).ok_or_else(|| {
                errors::invalid_field("filter", format!("`{field} = {value}`: the value has to be {expected}"))
            })
        })
        .transpose()
}
