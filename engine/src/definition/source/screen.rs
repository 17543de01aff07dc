//! Screens as people write them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Text, given};
use crate::Json;

/// An element of `screens`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct Screen {
    pub(in crate::definition) name: Text,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) title: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) description: Option<Text>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) show: Option<Spanned<Vec<Shown>>>,
    #[serde(default, deserialize_with = "given")]
    pub(in crate::definition) fields: Option<Spanned<Json>>,
    #[serde(default)]
    pub(in crate::definition) prefill: BTreeMap<String, Text>,
}

/// An element of `show`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::definition) struct Shown {
    pub(in crate::definition) label: Text,
    pub(in crate::definition) value: Text,
}
