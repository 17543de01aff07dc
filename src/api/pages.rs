//! Pages: sizes within bounds, and tokens that belong to one query. A token says after which key the next page begins.

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tonic::Status;

use quorate_store::query::PAGE_SIZE_MAX;

use super::errors;

/// What a page holds where the caller does not say.
const PAGE_SIZE: u32 = 50;

/// How much of the query's digest a token carries, in hexadecimal digits: it guards against mistakes, not against forgery,
/// since a forged token shows nothing that the caller could not list.
const DIGEST_DIGITS: usize = 16;

/// The number of rows of a page.
pub(super) fn size(asked: i32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(PAGE_SIZE),
        Ok(size) if size <= PAGE_SIZE_MAX => Ok(size),
        _ => Err(errors::invalid_field("page_size", format!("has to be 1 to {PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE}"))),
    }
}

/// The key that a page token of this query carries; `None` for the first page.
pub(super) fn after<K: DeserializeOwned>(token: &str, query: &[&str]) -> Result<Option<K>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let foreign = || errors::invalid_field("page_token", "is not a page token of this query");
    let (digest, key) = token.split_at_checked(DIGEST_DIGITS).ok_or_else(foreign)?;
    if digest != query_digest(query) {
        return Err(foreign());
    }
    // The store cannot look for U+0000, and no key holds it.
    let bytes = hex_decode(key).filter(|bytes| !bytes.windows(6).any(|text| text == br"\u0000")).ok_or_else(foreign)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| foreign())
}

/// The token of the page after one that ends with this key; empty when the page was not full.
pub(super) fn next<K: Serialize>(rows: usize, size: u32, last: Option<K>, query: &[&str]) -> String {
    match last {
        Some(key) if rows >= size as usize => {
            // A key is a tuple of texts and numbers, which JSON can always write.
            let key = serde_json::to_vec(&key).unwrap_or_default();
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            format!("{}{key}", query_digest(query))
        }
        _ => String::new(),
    }
}

fn query_digest(query: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in query {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut digest = format!("{:x}", hasher.finalize());
    digest.truncate(DIGEST_DIGITS);
    digest
}

fn hex_decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_its_key_again_to_its_own_query_only() {
        let key = ("2026-01-01T00:00:00Z".to_owned(), 7_u32);
        let token = next(2, 2, Some(&key), &["list", "status = ERROR"]);
        assert_eq!(after::<(String, u32)>(&token, &["list", "status = ERROR"]).expect("own token"), Some(key));
        let foreign = after::<(String, u32)>(&token, &["list", ""]).expect_err("token of another query");
        assert_eq!(foreign.code(), tonic::Code::InvalidArgument);
        assert!(after::<(String, u32)>("zz", &["list", ""]).is_err());
    }

    #[test]
    fn a_page_that_is_not_full_is_the_last() {
        assert_eq!(next(1, 2, Some(&"key"), &[]), "");
    }
}
