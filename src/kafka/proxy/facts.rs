//! What a request says, kept until its answer comes.
//!
//! Bodies are read here and turned into shared names; nothing borrowed from a buffer outlives the frame. Must not judge.

use crate::{
    event::{
        Acknowledged, AcknowledgedPart, Acknowledgement, Name, PartitionSet, ProducedPart,
        SettledPart,
    },
    kafka::wire::{
        api::ApiKey,
        body::Topic,
        error::Result,
        messages::{
            api_versions::ApiVersionsRequest,
            fetch::FetchRequest,
            group::{
                CONSUMER_PROTOCOL, GroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest,
                LeaveGroupRequest, SyncGroupRequest,
            },
            offsets::{
                CommitPartition, OffsetCommitRequest, OffsetFetchRequest, TxnOffsetCommitRequest,
            },
            sasl::{self, SaslHandshakeRequest},
            shares::{AcknowledgeType, ShareRequest},
            transactions::EndTxnRequest,
        },
    },
};

use super::{bare::Bare, sessions, shared::Shared};

/// What is kept of a request.
#[derive(Debug)]
pub(crate) enum RequestFacts {
    /// Nothing.
    None,
    /// Records on their way to the broker.
    Produce {
        acks: i16,
        transactional: bool,
        parts: Vec<ProducedPart>,
        /// Their records that stay without a context.
        bare: Vec<Bare>,
    },
    /// A fetch; the session says which offsets.
    Fetch {
        session: Option<sessions::Shared>,
        read_committed: bool,
    },
    /// A member of a share group asks for records, or only says what became of those it was given.
    Share(Option<Box<Acknowledged>>),
    /// Positions of a group.
    Commit {
        group: Name,
        member: Name,
        /// Producer id of the transaction it is part of.
        transaction: Option<i64>,
        parts: Vec<SettledPart>,
    },
    /// A transaction ends.
    EndTransaction { producer_id: i64, committed: bool },
    /// A question for positions; the group, where there is only one and the answer will not name it.
    OffsetFetch { group: Option<Name> },
    /// A member joins; `first` = it has no member id yet.
    Join { group: Name, member: Name },
    /// A member asks for its assignment.
    Sync {
        group: Name,
        member: Name,
        generation: i32,
        consumer: bool,
    },
    /// A member is alive (classic protocol).
    Heartbeat { group: Name, member: Name },
    /// Members leave.
    Leave { group: Name, members: Vec<Name> },
    /// A member is alive (KIP-848 and share groups).
    GroupHeartbeat {
        group: Name,
        member: Name,
        epoch: i32,
        share: bool,
    },
    /// Authentication begins.
    SaslHandshake { mechanism: &'static str },
    /// A step of authentication; the name that the client claims, where this step tells it.
    SaslToken { name: Option<Name> },
    /// The client names itself.
    Software { name: Name, version: Name },
}

/// Reads an observed request.
pub(crate) fn read_request(
    shared: &Shared,
    broker: &Name,
    mechanism: Option<&'static str>,
    api: ApiKey,
    version: i16,
    body: &[u8],
) -> Result<RequestFacts> {
    Ok(match api {
        ApiKey::FETCH => {
            let request = FetchRequest::read(body, version)?;
            let read_committed = request.is_read_committed();
            RequestFacts::Fetch {
                session: shared.sessions.request(broker, &request, &shared.topics),
                read_committed,
            }
        }
        ApiKey::SHARE_FETCH | ApiKey::SHARE_ACKNOWLEDGE => {
            RequestFacts::Share(share(shared, &ShareRequest::read(api, body, version)?))
        }
        ApiKey::OFFSET_COMMIT => {
            let request = OffsetCommitRequest::read(body, version)?;
            RequestFacts::Commit {
                group: request.group.into(),
                member: request.member.into(),
                transaction: None,
                parts: commit_parts(shared, &request.topics),
            }
        }
        ApiKey::TXN_OFFSET_COMMIT => {
            let request = TxnOffsetCommitRequest::read(body, version)?;
            RequestFacts::Commit {
                group: request.group.into(),
                member: request.member.into(),
                transaction: Some(request.producer_id),
                parts: commit_parts(shared, &request.topics),
            }
        }
        ApiKey::END_TXN => {
            let request = EndTxnRequest::read(body, version)?;
            RequestFacts::EndTransaction {
                producer_id: request.producer.id,
                committed: request.committed,
            }
        }
        ApiKey::OFFSET_FETCH => {
            let request = OffsetFetchRequest::read(body, version)?;
            RequestFacts::OffsetFetch {
                group: request.groups.first().map(|g| g.group.into()),
            }
        }
        ApiKey::SASL_HANDSHAKE => RequestFacts::SaslHandshake {
            mechanism: SaslHandshakeRequest::read(body, version)?.mechanism_label(),
        },
        ApiKey::SASL_AUTHENTICATE => {
            let name = sasl::claimed_name(body, version, mechanism.unwrap_or_default())?;
            RequestFacts::SaslToken {
                name: name.map(Name::from),
            }
        }
        ApiKey::API_VERSIONS => {
            let request = ApiVersionsRequest::read(body, version)?;
            match (request.software_name, request.software_version) {
                (Some(name), Some(of)) => RequestFacts::Software {
                    name: name.into(),
                    version: of.into(),
                },
                _ => RequestFacts::None,
            }
        }
        _ => read_membership(api, version, body)?,
    })
}

fn read_membership(api: ApiKey, version: i16, body: &[u8]) -> Result<RequestFacts> {
    Ok(match api {
        ApiKey::JOIN_GROUP => {
            let request = JoinGroupRequest::read(body, version)?;
            RequestFacts::Join {
                group: request.group.into(),
                member: request.member.into(),
            }
        }
        ApiKey::SYNC_GROUP => {
            let request = SyncGroupRequest::read(body, version)?;
            RequestFacts::Sync {
                group: request.group.into(),
                member: request.member.into(),
                generation: request.generation,
                // Before version 5 the request does not say; the assignment then decodes or it does not.
                consumer: request
                    .protocol_type
                    .is_none_or(|kind| kind == CONSUMER_PROTOCOL),
            }
        }
        ApiKey::HEARTBEAT => {
            let request = HeartbeatRequest::read(body, version)?;
            RequestFacts::Heartbeat {
                group: request.group.into(),
                member: request.member.into(),
            }
        }
        ApiKey::LEAVE_GROUP => {
            let request = LeaveGroupRequest::read(body, version)?;
            RequestFacts::Leave {
                group: request.group.into(),
                members: request.members.iter().map(|m| m.member.into()).collect(),
            }
        }
        ApiKey::CONSUMER_GROUP_HEARTBEAT | ApiKey::SHARE_GROUP_HEARTBEAT => {
            let request = GroupHeartbeatRequest::read(api, body, version)?;
            RequestFacts::GroupHeartbeat {
                group: request.group.into(),
                member: request.member.into(),
                epoch: request.member_epoch,
                share: api == ApiKey::SHARE_GROUP_HEARTBEAT,
            }
        }
        _ => RequestFacts::None,
    })
}

fn share(shared: &Shared, request: &ShareRequest<'_>) -> Option<Box<Acknowledged>> {
    const CLOSES: i32 = -1;
    let mut parts = Vec::new();
    for topic in &request.topics {
        let name = shared.topics.resolve(topic.topic);
        if !shared.observes(&name) {
            continue;
        }
        let said = topic.partitions.iter();
        for partition in said.filter(|p| !p.acknowledged.is_empty()) {
            let runs = partition.acknowledged.iter().filter_map(|run| {
                let became = match run.kind {
                    AcknowledgeType::Gap => Acknowledgement::Gap,
                    AcknowledgeType::Accept => Acknowledgement::Accepted,
                    AcknowledgeType::Release => Acknowledgement::Released,
                    AcknowledgeType::Reject => Acknowledgement::Rejected,
                    AcknowledgeType::Renew | AcknowledgeType::Other => return None,
                };
                Some((run.first, run.last, became))
            });
            parts.push(AcknowledgedPart {
                topic: Name::clone(&name),
                partition: partition.partition,
                runs: runs.collect(),
                error: None,
            });
        }
    }
    Some(Box::new(Acknowledged {
        group: request.group?.into(),
        member: request.member.unwrap_or_default().into(),
        leaves: request.session_epoch == CLOSES,
        parts,
    }))
}

fn commit_parts(shared: &Shared, topics: &[Topic<'_, CommitPartition>]) -> Vec<SettledPart> {
    let mut parts = Vec::new();
    for topic in topics {
        let name = shared.topics.resolve(topic.topic);
        if !shared.observes(&name) {
            continue;
        }
        parts.extend(topic.partitions.iter().map(|p| SettledPart {
            topic: Name::clone(&name),
            partition: p.partition,
            offset: p.offset,
            error: None,
        }));
    }
    parts
}

/// Partitions by name, from partitions by name or id.
pub(crate) fn partition_set(shared: &Shared, topics: &[Topic<'_, i32>]) -> PartitionSet {
    topics
        .iter()
        .map(|t| (shared.topics.resolve(t.topic), t.partitions.clone()))
        .collect()
}
