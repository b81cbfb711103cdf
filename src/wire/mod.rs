//! Bytes of the protocols: how messages are framed on a connection, before anyone reads what they say.

pub mod openai;
pub mod sse;
