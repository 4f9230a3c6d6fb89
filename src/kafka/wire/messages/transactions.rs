//! Transactions: who gets which producer id and epoch, and how a transaction ends.
//!
//! Reference: `InitProducerIdResponse.json`, `EndTxnRequest.json`, `EndTxnResponse.json`, `AddOffsetsToTxnRequest.json`
//! (KIP-98; KIP-890 returns a new epoch with every end). AddPartitionsToTxn is read only for its errors, in `outcome`.

use super::super::{api::ApiKey, body::open, error::Result};

/// A producer's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Producer id, -1 = none.
    pub id: i64,
    /// Epoch, -1 = none.
    pub epoch: i16,
}

/// An InitProducerIdRequest, versions 0-6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitProducerIdRequest<'a> {
    /// Transactional id; `None` = idempotent only.
    pub transactional_id: Option<&'a str>,
}

impl<'a> InitProducerIdRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-6, else what the field gives.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::INIT_PRODUCER_ID, version, 0)?;
        Ok(Self {
            transactional_id: r.nullable_string("transactional id")?,
        })
    }
}

/// An InitProducerIdResponse, versions 0-6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    /// Throttle time, ms.
    pub throttle_ms: i32,
    /// 0 = done.
    pub error_code: i16,
    /// The identity given.
    pub producer: ProducerIdentity,
}

impl InitProducerIdResponse {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-6, else what the fields give.
    pub fn read(body: &[u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::INIT_PRODUCER_ID, version, 0)?;
        Ok(Self {
            throttle_ms: r.i32("throttle time")?,
            error_code: r.i16("error code")?,
            producer: ProducerIdentity {
                id: r.i64("producer id")?,
                epoch: r.i16("producer epoch")?,
            },
        })
    }
}

/// An EndTxnRequest, versions 0-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnRequest<'a> {
    /// Transactional id.
    pub transactional_id: &'a str,
    /// Who ends it.
    pub producer: ProducerIdentity,
    /// False = abort.
    pub committed: bool,
}

impl<'a> EndTxnRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::END_TXN, version, 0)?;
        Ok(Self {
            transactional_id: r.string("transactional id")?,
            producer: ProducerIdentity {
                id: r.i64("producer id")?,
                epoch: r.i16("producer epoch")?,
            },
            committed: r.bool("committed")?,
        })
    }
}

/// An EndTxnResponse, versions 0-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnResponse {
    /// Throttle time, ms.
    pub throttle_ms: i32,
    /// 0 = done.
    pub error_code: i16,
    /// Identity for the next transaction. Added in version 5.
    pub next: Option<ProducerIdentity>,
}

impl EndTxnResponse {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &[u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::END_TXN, version, 0)?;
        Ok(Self {
            throttle_ms: r.i32("throttle time")?,
            error_code: r.i16("error code")?,
            next: if version >= 5 {
                Some(ProducerIdentity {
                    id: r.i64("producer id")?,
                    epoch: r.i16("producer epoch")?,
                })
            } else {
                None
            },
        })
    }
}

/// An AddOffsetsToTxnRequest, versions 0-4: the group whose positions the transaction will commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddOffsetsToTxnRequest<'a> {
    /// Transactional id.
    pub transactional_id: &'a str,
    /// Who adds.
    pub producer: ProducerIdentity,
    /// Group.
    pub group: &'a str,
}

impl<'a> AddOffsetsToTxnRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-4, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::ADD_OFFSETS_TO_TXN, version, 0)?;
        Ok(Self {
            transactional_id: r.string("transactional id")?,
            producer: ProducerIdentity {
                id: r.i64("producer id")?,
                epoch: r.i16("producer epoch")?,
            },
            group: r.string("group id")?,
        })
    }
}
