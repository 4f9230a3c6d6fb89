//! The requests and responses that are read, one file per family.
//!
//! Each reader takes a body (what follows the request or response header) and a version, borrows from it, and stops where
//! nothing further is needed. Must not change bytes; `endpoints` and [`api_versions::cap_max`] are the only edits.
//!
//! Reference: the schemas in `common/message/` of the `kafka-clients` jar; "Added in version N" is theirs.

pub mod administration;
pub mod api_versions;
pub mod epochs;
pub mod fetch;
pub mod group;
pub mod inventory;
pub mod login;
pub mod membership;
pub mod offsets;
pub mod outcome;
pub mod reading;
pub mod requests;
pub mod sasl;
pub mod shares;
pub mod transactions;
pub mod writing;
