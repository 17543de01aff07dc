//! The messages and services of `proto/`, as generated, and their JSON form.

pub mod value;

/// `quorate.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the comments of proto/ carry over where the generator keeps them"
)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// The descriptors of `proto/`, encoded: for reflection, and for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
