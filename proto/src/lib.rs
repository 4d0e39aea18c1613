//! Posthorn: proto.
