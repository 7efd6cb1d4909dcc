//! Are they who they say? One file per kind of proof.
//!
//! Bytes go in, an answer comes out. Nothing here knows the clock, the disk or the rest of the house.
#![forbid(unsafe_code)]

pub mod authority;
pub mod cache;
pub mod certificate;
pub mod crl;
mod der;
pub mod distinguished_name;
mod hex;
pub mod key_pair;
pub mod ocsp;
pub mod password;
mod pem;
pub mod psk;
pub mod request;
#[cfg(test)]
mod x509_tests;
