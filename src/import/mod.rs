//! What other brokers and plugins have written down about their clients, read into plans for this database.
//!
//! Pure: bytes in, values out. What is in the database, and how a plan gets there, is not known here. Whatever a file
//! says that cannot be said the same way becomes a [`plan::Finding`]: nothing is left out in silence.

pub mod acl_file;
pub mod acl_judge;
pub mod acl_plan;
pub mod device_list;
pub mod dynsec;
pub mod dynsec_judge;
pub mod dynsec_plan;
pub mod go_auth;
pub mod go_auth_judge;
mod levels;
pub mod plan;
pub mod questions;
pub mod secret_file;

/// The release series of Mosquitto whose reading of a file is meant: they differ in what `%u` and `%c` stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Series {
    /// 2.0: in patterns of an `acl_file`, values are put in anywhere, as text. The dynamic-security plugin has none.
    V20,
    /// 2.1: `%u` and `%c` stand for a whole level, in patterns and in the dynamic-security plugin.
    #[default]
    V21,
}

#[cfg(test)]
mod tests;
