//! Membership of groups: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and the heartbeats of the newer group types.
//!
//! Reference: `JoinGroupRequest.json` and neighbours (KIP-62, KIP-345, KIP-559), `ConsumerGroupHeartbeatRequest.json`
//! (KIP-848), `ShareGroupHeartbeatRequest.json` (KIP-932), `ConsumerProtocolAssignment.json`.

use super::super::{
    api::ApiKey,
    body::{TopicPartitions, open, throttle, topics},
    error::{DecodeErrorKind, Result},
    reader::Reader,
};

/// The only protocol type whose assignments have a known form.
pub const CONSUMER_PROTOCOL: &str = "consumer";

/// A JoinGroupRequest, versions 0-9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinGroupRequest<'a> {
    /// Group.
    pub group: &'a str,
    /// The coordinator forgets the member after this silence, ms.
    pub session_timeout_ms: i32,
    /// Member id; empty the first time.
    pub member: &'a str,
    /// Static member's name. Added in version 5.
    pub instance: Option<&'a str>,
    /// `consumer`, `connect`, ...
    pub protocol_type: &'a str,
}

impl<'a> JoinGroupRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-9, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::JOIN_GROUP, version, 0)?;
        let group = r.string("group id")?;
        let session_timeout_ms = r.i32("session timeout")?;
        if version >= 1 {
            r.i32("rebalance timeout")?;
        }
        Ok(Self {
            group,
            session_timeout_ms,
            member: r.string("member id")?,
            instance: instance(r, version >= 5)?,
            protocol_type: r.string("protocol type")?,
        })
    }
}

fn instance<'a>(r: &mut Reader<'a>, present: bool) -> Result<Option<&'a str>> {
    if present {
        r.nullable_string("group instance id")
    } else {
        Ok(None)
    }
}

/// A JoinGroupResponse, versions 0-9, without the member list that only the leader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinGroupResponse<'a> {
    /// Throttle time, ms. Added in version 2.
    pub throttle_ms: Option<i32>,
    /// 0 = joined.
    pub error_code: i16,
    /// Generation, -1 with an error.
    pub generation: i32,
    /// Protocol type. Added in version 7.
    pub protocol_type: Option<&'a str>,
    /// Leader's member id.
    pub leader: &'a str,
    /// The member id given.
    pub member: &'a str,
}

impl<'a> JoinGroupResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-9, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::JOIN_GROUP, version, 0)?;
        let throttle_ms = throttle(r, version >= 2)?;
        let error_code = r.i16("error code")?;
        let generation = r.i32("generation")?;
        let protocol_type = if version >= 7 {
            r.nullable_string("protocol type")?
        } else {
            None
        };
        r.nullable_string_bytes("protocol name")?;
        let leader = r.string("leader")?;
        if version >= 9 {
            r.bool("skip assignment")?;
        }
        Ok(Self {
            throttle_ms,
            error_code,
            generation,
            protocol_type,
            leader,
            member: r.string("member id")?,
        })
    }
}

/// A SyncGroupRequest, versions 0-5, without the assignments that only the leader sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncGroupRequest<'a> {
    /// Group.
    pub group: &'a str,
    /// Generation.
    pub generation: i32,
    /// Member id.
    pub member: &'a str,
    /// Static member's name. Added in version 3.
    pub instance: Option<&'a str>,
    /// Protocol type. Added in version 5.
    pub protocol_type: Option<&'a str>,
}

impl<'a> SyncGroupRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::SYNC_GROUP, version, 0)?;
        Ok(Self {
            group: r.string("group id")?,
            generation: r.i32("generation")?,
            member: r.string("member id")?,
            instance: instance(r, version >= 3)?,
            protocol_type: if version >= 5 {
                r.nullable_string("protocol type")?
            } else {
                None
            },
        })
    }
}

/// A SyncGroupResponse, versions 0-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncGroupResponse<'a> {
    /// Throttle time, ms. Added in version 1.
    pub throttle_ms: Option<i32>,
    /// 0 = done.
    pub error_code: i16,
    /// Protocol type. Added in version 5.
    pub protocol_type: Option<&'a str>,
    /// The leader's words to this member, in a form only the protocol type knows.
    pub assignment: &'a [u8],
}

impl<'a> SyncGroupResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::SYNC_GROUP, version, 0)?;
        let throttle_ms = throttle(r, version >= 1)?;
        let error_code = r.i16("error code")?;
        let protocol_type = if version >= 5 {
            let protocol_type = r.nullable_string("protocol type")?;
            r.nullable_string_bytes("protocol name")?;
            protocol_type
        } else {
            None
        };
        Ok(Self {
            throttle_ms,
            error_code,
            protocol_type,
            assignment: r.nullable_bytes("assignment")?.unwrap_or_default(),
        })
    }

    /// The partitions given. `joined_as` is the protocol type of the JoinGroup request, for versions before 5, which do not
    /// repeat it. `None` where the type is known and is not [`CONSUMER_PROTOCOL`], or where the bytes do not decode.
    #[must_use]
    pub fn partitions(&self, joined_as: Option<&str>) -> Option<Vec<(&'a str, Vec<i32>)>> {
        match self.protocol_type.or(joined_as) {
            None | Some(CONSUMER_PROTOCOL) => consumer_assignment(self.assignment).ok(),
            Some(_) => None,
        }
    }
}

/// A ConsumerProtocolAssignment: topic -> partitions. No bytes at all means no partitions.
///
/// # Errors
/// `Value` for a negative version, else what the fields give.
pub fn consumer_assignment(bytes: &[u8]) -> Result<Vec<(&str, Vec<i32>)>> {
    let mut all = Vec::new();
    if bytes.is_empty() {
        return Ok(all);
    }
    let mut r = Reader::new(bytes, false);
    // Newer versions only append, and Kafka's own reader takes them the same way.
    if r.i16("assignment version")? < 0 {
        return Err(r.fault(DecodeErrorKind::Value, "assignment version"));
    }
    r.array("assigned partitions", |r| {
        all.push((r.string("topic")?, r.i32_array("partitions")?));
        Ok(())
    })?;
    Ok(all)
}

/// A HeartbeatRequest, versions 0-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatRequest<'a> {
    /// Group.
    pub group: &'a str,
    /// Generation.
    pub generation: i32,
    /// Member id.
    pub member: &'a str,
}

impl<'a> HeartbeatRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-4, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::HEARTBEAT, version, 0)?;
        Ok(Self {
            group: r.string("group id")?,
            generation: r.i32("generation")?,
            member: r.string("member id")?,
        })
    }
}

/// A HeartbeatResponse, versions 0-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatResponse {
    /// Throttle time, ms. Added in version 1.
    pub throttle_ms: Option<i32>,
    /// 0 = alive, 27 = a rebalance has begun.
    pub error_code: i16,
}

impl HeartbeatResponse {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-4, else what the fields give.
    pub fn read(body: &[u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::HEARTBEAT, version, 0)?;
        Ok(Self {
            throttle_ms: throttle(r, version >= 1)?,
            error_code: r.i16("error code")?,
        })
    }
}

/// A LeaveGroupRequest, versions 0-5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveGroupRequest<'a> {
    /// Group.
    pub group: &'a str,
    /// Members that leave: one up to version 2, any number from version 3 (an admin may remove others).
    pub members: Vec<LeavingMember<'a>>,
}

/// A member that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeavingMember<'a> {
    /// Member id; may be empty where the static name is given.
    pub member: &'a str,
    /// Static member's name. Added in version 3.
    pub instance: Option<&'a str>,
}

impl<'a> LeaveGroupRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::LEAVE_GROUP, version, 0)?;
        let group = r.string("group id")?;
        let mut members = Vec::new();
        if version <= 2 {
            members.push(LeavingMember {
                member: r.string("member id")?,
                instance: None,
            });
            return Ok(Self { group, members });
        }
        r.array("members", |r| {
            members.push(LeavingMember {
                member: r.string("member id")?,
                instance: r.nullable_string("group instance id")?,
            });
            if version >= 5 {
                r.nullable_string_bytes("reason")?;
            }
            r.skip_tagged()
        })?;
        Ok(Self { group, members })
    }
}

/// A LeaveGroupResponse, versions 0-5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveGroupResponse<'a> {
    /// Throttle time, ms. Added in version 1.
    pub throttle_ms: Option<i32>,
    /// Error for the whole request, 0 = done.
    pub error_code: i16,
    /// (member id, error code). Added in version 3.
    pub members: Vec<(&'a str, i16)>,
}

impl<'a> LeaveGroupResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::LEAVE_GROUP, version, 0)?;
        let throttle_ms = throttle(r, version >= 1)?;
        let error_code = r.i16("error code")?;
        let mut members = Vec::new();
        if version >= 3 {
            r.array("members", |r| {
                let member = r.string("member id")?;
                r.nullable_string_bytes("group instance id")?;
                members.push((member, r.i16("error code")?));
                r.skip_tagged()
            })?;
        }
        Ok(Self {
            throttle_ms,
            error_code,
            members,
        })
    }
}

/// The start of a ConsumerGroupHeartbeatRequest or ShareGroupHeartbeatRequest, versions 0-1; they begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeartbeatRequest<'a> {
    /// Group.
    pub group: &'a str,
    /// Member id, chosen by the client from version 1.
    pub member: &'a str,
    /// 0 joins, -1 leaves, -2 (static members) leaves for a while.
    pub member_epoch: i32,
}

impl<'a> GroupHeartbeatRequest<'a> {
    /// Reads the start of a body.
    ///
    /// # Errors
    /// `Version` outside 0-1, else what the fields give.
    pub fn read(key: ApiKey, body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, key, version, 0)?;
        Ok(Self {
            group: r.string("group id")?,
            member: r.string("member id")?,
            member_epoch: r.i32("member epoch")?,
        })
    }
}

/// A ConsumerGroupHeartbeatResponse or ShareGroupHeartbeatResponse, versions 0-1; they are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHeartbeatResponse<'a> {
    /// Throttle time, ms.
    pub throttle_ms: i32,
    /// 0 = done.
    pub error_code: i16,
    /// Member id, where the coordinator chose it.
    pub member: Option<&'a str>,
    /// Member epoch.
    pub member_epoch: i32,
    /// The coordinator expects a heartbeat this often, ms.
    pub heartbeat_interval_ms: i32,
    /// The whole assignment by topic id; `None` = unchanged.
    pub assignment: Option<TopicPartitions<'a>>,
}

impl<'a> GroupHeartbeatResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-1, else what the fields give.
    pub fn read(key: ApiKey, body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, key, version, 0)?;
        let throttle_ms = r.i32("throttle time")?;
        let error_code = r.i16("error code")?;
        r.nullable_string_bytes("error message")?;
        let member = r.nullable_string("member id")?;
        let member_epoch = r.i32("member epoch")?;
        let heartbeat_interval_ms = r.i32("heartbeat interval")?;
        // A nullable struct: one byte, negative = null.
        let assignment = if r.i8("assignment")? < 0 {
            None
        } else {
            Some(topics(r, true, |r| r.i32("partition"))?)
        };
        Ok(Self {
            throttle_ms,
            error_code,
            member,
            member_epoch,
            heartbeat_interval_ms,
            assignment,
        })
    }
}
