//! The gRPC contract: messages, clients and servers generated from `proto/posthorn/v1/*.proto`.
//!
//! What is under `src/generated` is committed, so a build needs no protoc; a test generates it
//! again and compares. Nothing here is written by hand but this file, and nothing here knows a
//! rule: the messages carry what was said, the ingress parses it.

/// Version 1 of the contract.
#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, clippy::too_many_lines)]
pub mod v1 {
    include!("generated/posthorn.v1.rs");
}

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, imports included: what server
/// reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");
