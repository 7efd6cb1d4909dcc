//! The broker's types and constants, as bindgen reads them from its installed headers (`include/wrapper.h`).

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::expect_used,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_debug_implementations,
    non_camel_case_types,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/broker.rs"));
