//! What an answer says, and the event it becomes.
//!
//! Joins the facts of the request with those of the response. Must not change a byte, nor judge beyond the error tables.

use std::{sync::Arc, time::Duration};

use super::{
    availability::time_limit,
    bare::Bare,
    by_partition::ByPartition,
    connection::Context,
    delivered::DeliveredSink,
    facts::{RequestFacts, partition_set},
    inflight::{Pending, RawSasl},
};
use crate::{
    event::{
        Acknowledged, Answer, Delivered, EventKind, Facts, Failure, Membership, MembershipChange,
        Name, PartitionSet, Positions, Produced, ProducedPart, PublishOutcome, Settled,
        SettledPart, Stamp, TopicSeen, Unanswered,
    },
    kafka::wire::{
        api::ApiKey,
        endpoints::{
            self, FindCoordinatorSeen, MetadataSeen, PartitionResult, ProduceSeen,
            ShareAcknowledgeSeen,
        },
        error::Result,
        error_code,
        messages::{
            epochs::OffsetForLeaderEpochResponse,
            group::{GroupHeartbeatResponse, JoinGroupResponse, SyncGroupResponse},
            offsets::{OffsetCommitResponse, OffsetFetchResponse},
            outcome,
            sasl::{SaslAuthenticateResponse, SaslHandshakeResponse},
        },
    },
};

/// What was read from a response.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) throttle_ms: i32,
    pub(crate) error_code: i16,
    pub(crate) detail: Detail,
}

/// The part of a report that belongs to one API.
#[derive(Debug, Default)]
pub(crate) enum Detail {
    /// Nothing, or the response was not read: facts of the request stay as they are.
    #[default]
    None,
    /// Facts that need nothing from the request.
    Facts(Facts),
    /// Results by topic and partition.
    Produced(ByPartition<PartitionResult>),
    /// Error codes by topic and partition.
    Committed(ByPartition<i16>),
    /// Records, and what became of what a share fetch acknowledged.
    Delivered(Delivered, Acknowledgements),
    /// The same without records.
    Acknowledged(Acknowledgements),
    /// Generation and member id of a join.
    Joined {
        generation: i32,
        member: Name,
        first: bool,
    },
    /// Partitions of a classic member.
    Synced(Option<PartitionSet>),
    /// Epoch, member id, interval and partitions of a KIP-848 or share member.
    Beaten {
        epoch: i32,
        member: Option<Name>,
        interval_ms: i32,
        partitions: Option<PartitionSet>,
    },
}

/// What the broker made of the acknowledgements of a share group's member.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    /// Error for the whole request.
    pub(crate) error_code: i16,
    /// Error codes by topic and partition; those that are not named are done.
    pub(crate) partitions: ByPartition<i16>,
}

impl Acknowledgements {
    fn judge(&self, mut said: Acknowledged) -> Acknowledged {
        for part in &mut said.parts {
            let of_it = self.partitions.get(&part.topic, part.partition);
            let code = match self.error_code {
                0 => of_it.copied().unwrap_or(0),
                whole => whole,
            };
            part.error = error_code::failure(code);
        }
        said
    }
}

/// Reads an observed response.
pub(crate) fn read(context: &Context, pending: &Pending, body: &[u8]) -> Report {
    read_known(context, pending, body).unwrap_or_else(|error| {
        context.decode_fault(pending.api, error);
        Report::default()
    })
}

fn read_known(context: &Context, pending: &Pending, body: &[u8]) -> Result<Report> {
    let version = pending.version;
    let outcome = outcome::top_level(pending.api, version, body)?;
    let detail = match pending.api {
        ApiKey::OFFSET_COMMIT => committed(context, &OffsetCommitResponse::read(body, version)?),
        ApiKey::TXN_OFFSET_COMMIT => {
            committed(context, &OffsetCommitResponse::read_txn(body, version)?)
        }
        ApiKey::OFFSET_FETCH => Detail::Facts(positions(
            context,
            pending,
            &OffsetFetchResponse::read(body, version)?,
        )),
        ApiKey::JOIN_GROUP => {
            let response = JoinGroupResponse::read(body, version)?;
            joined(context, pending, outcome.error_code, &response)
        }
        ApiKey::SYNC_GROUP => {
            let response = SyncGroupResponse::read(body, version)?;
            let named = |t: &(&str, Vec<i32>)| (context.shared.topics.intern(t.0), t.1.clone());
            Detail::Synced(
                response
                    .partitions(None)
                    .map(|all| all.iter().map(named).collect()),
            )
        }
        ApiKey::CONSUMER_GROUP_HEARTBEAT | ApiKey::SHARE_GROUP_HEARTBEAT => {
            let response = GroupHeartbeatResponse::read(pending.api, body, version)?;
            Detail::Beaten {
                epoch: response.member_epoch,
                member: response.member.map(Name::from),
                interval_ms: response.heartbeat_interval_ms,
                partitions: response
                    .assignment
                    .map(|a| partition_set(&context.shared, &a)),
            }
        }
        ApiKey::DESCRIBE_TOPIC_PARTITIONS => Detail::Facts(topics(
            context,
            &endpoints::describe_topic_partitions(body, version)?.topics,
        )),
        ApiKey::OFFSET_FOR_LEADER_EPOCH => Detail::Facts(epoch_ends(
            context,
            &OffsetForLeaderEpochResponse::read(body, version)?,
        )),
        ApiKey::SASL_HANDSHAKE => {
            sasl_handshake(
                context,
                pending,
                &SaslHandshakeResponse::read(body, version)?,
            );
            Detail::None
        }
        ApiKey::SASL_AUTHENTICATE => sasl_authenticate(
            context,
            pending,
            SaslAuthenticateResponse::read(body, version)?,
        ),
        _ => Detail::None,
    };
    Ok(Report {
        throttle_ms: outcome.throttle_ms.unwrap_or(0),
        error_code: outcome.error_code,
        detail,
    })
}

/// What follows belongs to this mechanism; after SaslHandshake v0 the tokens travel without Kafka headers.
fn sasl_handshake(context: &Context, pending: &Pending, response: &SaslHandshakeResponse<'_>) {
    let RequestFacts::SaslHandshake { mechanism } = pending.facts else {
        return;
    };
    if response.error_code != 0 {
        return;
    }
    context.in_flight.agree_mechanism(mechanism);
    if pending.version != 0 {
        return;
    }
    context.in_flight.begin_raw_sasl(match mechanism {
        "PLAIN" | "OAUTHBEARER" => RawSasl::Tokens(1),
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => RawSasl::Tokens(2),
        _ => RawSasl::UntilRequest,
    });
}

/// A step of several says nothing yet.
fn sasl_authenticate(
    context: &Context,
    pending: &Pending,
    response: SaslAuthenticateResponse,
) -> Detail {
    let RequestFacts::SaslToken { name } = &pending.facts else {
        return Detail::None;
    };
    let principal = context.in_flight.claim(name.as_ref());
    let accepted = response.error_code == 0;
    match context.in_flight.mechanism() {
        Some(mechanism) if !accepted || response.is_last => Detail::Facts(Facts::Authenticated {
            mechanism,
            accepted,
            principal,
        }),
        _ => Detail::None,
    }
}

/// A member that had no id is given one first and joins again with it: that is still its first join.
fn joined(
    context: &Context,
    pending: &Pending,
    code: i16,
    response: &JoinGroupResponse<'_>,
) -> Detail {
    let member = Name::from(response.member);
    if error_code::failure(code).is_some_and(|f| f.name == "MEMBER_ID_REQUIRED") {
        context.in_flight.give_member(Name::clone(&member));
    }
    let asked = match &pending.facts {
        RequestFacts::Join { member, .. } => Some(member),
        _ => None,
    };
    Detail::Joined {
        generation: response.generation,
        first: code == 0 && asked.is_some_and(|asked| context.in_flight.is_first_join(asked)),
        member,
    }
}

fn committed(context: &Context, response: &OffsetCommitResponse<'_>) -> Detail {
    let mut codes = ByPartition::default();
    for topic in &response.topics {
        let name = context.shared.topics.resolve(topic.topic);
        for partition in &topic.partitions {
            codes.insert(&name, partition.partition, partition.error_code);
        }
    }
    Detail::Committed(codes)
}

fn positions(context: &Context, pending: &Pending, response: &OffsetFetchResponse<'_>) -> Facts {
    let RequestFacts::OffsetFetch { group: asked } = &pending.facts else {
        return Facts::None;
    };
    let mut group: Option<Name> = asked.clone();
    let mut parts = Vec::new();
    for answered in &response.groups {
        // A client asks for its own group; an admin tool may ask for many, of which only the first is reported.
        match (answered.group, group.as_deref()) {
            (Some(name), Some(first)) if name != first => continue,
            (Some(name), None) => group = Some(name.into()),
            _ => {}
        }
        for topic in &answered.topics {
            let name = context.shared.topics.resolve(topic.topic);
            for p in topic.partitions.iter().filter(|p| p.error_code == 0) {
                parts.push((Arc::clone(&name), p.partition, p.offset));
            }
        }
    }
    match group {
        Some(group) => Facts::Positions(Positions { group, parts }),
        None => Facts::None,
    }
}

fn epoch_ends(context: &Context, response: &OffsetForLeaderEpochResponse<'_>) -> Facts {
    let mut ends = Vec::new();
    for topic in &response.topics {
        let name = context.shared.topics.resolve(topic.topic);
        for end in topic.partitions.iter().filter(|p| p.error_code == 0) {
            ends.push((Arc::clone(&name), end.partition, end.end_offset));
        }
    }
    Facts::EpochEnds(ends)
}

/// Reports a Metadata response.
pub(crate) fn metadata(context: &Context, seen: &MetadataSeen<'_>) -> Report {
    let error_code = seen
        .topics
        .iter()
        .map(|t| t.error_code)
        .fold(seen.error_code, error_code::worse);
    Report {
        throttle_ms: seen.throttle_ms.unwrap_or(0),
        error_code,
        detail: Detail::Facts(topics(context, &seen.topics)),
    }
}

fn topics(context: &Context, seen: &[endpoints::TopicMetadata<'_>]) -> Facts {
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    let mut all = Vec::new();
    for topic in seen {
        let Some(name) = topic.name else { continue };
        let name = match topic.id {
            Some(id) if topic.error_code == 0 => context.shared.topics.learn(id, name),
            _ => context.shared.topics.intern(name),
        };
        all.push(TopicSeen {
            name,
            partitions: topic.partitions,
            gone: topic.error_code == UNKNOWN_TOPIC_OR_PARTITION,
        });
    }
    Facts::Topics(all)
}

/// Reports a FindCoordinator response.
pub(crate) fn find_coordinator(seen: &FindCoordinatorSeen<'_>) -> Report {
    let error_code = seen
        .coordinators
        .iter()
        .map(|c| c.error_code)
        .fold(0, error_code::worse);
    Report {
        throttle_ms: seen.throttle_ms.unwrap_or(0),
        error_code,
        detail: Detail::None,
    }
}

/// Reports a Produce response.
pub(crate) fn produced(context: &Context, seen: &ProduceSeen<'_>) -> Report {
    let mut results = ByPartition::default();
    let mut error_code = 0;
    for topic in &seen.topics {
        let name = context.shared.topics.resolve(topic.topic);
        for partition in &topic.partitions {
            error_code = error_code::worse(error_code, partition.error_code);
            results.insert(&name, partition.partition, *partition);
        }
    }
    Report {
        throttle_ms: seen.throttle_ms,
        error_code,
        detail: Detail::Produced(results),
    }
}

/// Reports a ShareAcknowledge response.
pub(crate) fn acknowledged(context: &Context, seen: &ShareAcknowledgeSeen<'_>) -> Report {
    let mut error_code = seen.error_code;
    let mut partitions = ByPartition::default();
    for topic in &seen.topics {
        let name = context.shared.topics.resolve(topic.topic);
        for partition in &topic.partitions {
            error_code = error_code::worse(error_code, partition.error_code);
            partitions.insert(&name, partition.partition, partition.error_code);
        }
    }
    Report {
        throttle_ms: seen.throttle_ms,
        error_code,
        detail: Detail::Acknowledged(Acknowledgements {
            error_code: seen.error_code,
            partitions,
        }),
    }
}

/// Reports a response with records.
pub(crate) fn delivered(context: &Context, pending: &Pending, sink: DeliveredSink<'_>) -> Report {
    let read_committed = match &pending.facts {
        RequestFacts::Fetch {
            session,
            read_committed,
        } => {
            if let Some(session) = session {
                context.shared.sessions.answered(
                    &context.connection.broker,
                    sink.head.session_id,
                    session,
                );
            }
            *read_committed
        }
        _ => false,
    };
    let error_code = error_code::worse(sink.head.error_code, sink.error_code);
    let data_was_there = sink.data_was_there && sink.head.throttle_ms == 0;
    let acknowledgements = Acknowledgements {
        error_code: sink.head.error_code,
        partitions: sink.acknowledged,
    };
    let delivered = Delivered {
        group: None,
        acknowledged: None,
        read_committed,
        data_was_there,
        parts: sink.parts,
    };
    Report {
        throttle_ms: sink.head.throttle_ms,
        error_code,
        detail: Detail::Delivered(delivered, acknowledgements),
    }
}

/// Sends the events of one answered request.
pub(crate) fn emit(context: &Context, at: Stamp, pending: Pending, report: Report) {
    let error = error_code::failure(report.error_code);
    let client = Arc::clone(&pending.client);
    let duration = at.mono.saturating_duration_since(pending.sent);
    let api = pending.api;
    let facts = join(context, pending, report.detail, error);
    if let Facts::Settled(settled) = &facts {
        let done = settled.parts.iter().filter(|part| part.error.is_none());
        for part in done {
            let recent = &context.shared.recent;
            recent.settled(&part.topic, part.partition, part.offset);
        }
    }
    context.emit(
        at,
        client,
        EventKind::Answered(Answer {
            operation: api.name(),
            time_limit: time_limit(api),
            duration,
            throttle: Duration::from_millis(u64::try_from(report.throttle_ms).unwrap_or(0)),
            error,
            facts,
        }),
    );
}

fn join(context: &Context, pending: Pending, detail: Detail, error: Option<Failure>) -> Facts {
    match (pending.facts, detail) {
        (_, Detail::Facts(facts)) => facts,
        (
            RequestFacts::Produce {
                acks,
                transactional,
                parts,
                bare,
            },
            Detail::Produced(results),
        ) => {
            let mut parts = with_results(parts, &results);
            for part in parts.iter_mut().filter(|p| p.injection.refused.is_some()) {
                if !matches!(part.outcome, PublishOutcome::Failed(_)) {
                    part.forget_written();
                }
            }
            name(context, bare, &mut parts);
            Facts::Produced(Produced {
                acks,
                transactional,
                parts,
            })
        }
        (
            RequestFacts::Commit {
                group,
                member,
                transaction,
                parts,
            },
            Detail::Committed(codes),
        ) => {
            let parts = with_errors(parts, &codes);
            Facts::Settled(Settled {
                group,
                member,
                transaction,
                parts,
            })
        }
        (RequestFacts::Commit { .. }, _) => Facts::None,
        (RequestFacts::Share(said), Detail::Delivered(mut delivered, became)) => {
            delivered.group = said.as_ref().map(|said| Name::clone(&said.group));
            delivered.acknowledged = said.map(|said| Box::new(became.judge(*said)));
            Facts::Delivered(delivered)
        }
        (_, Detail::Delivered(delivered, _)) => Facts::Delivered(delivered),
        (RequestFacts::Share(Some(said)), Detail::Acknowledged(became)) => {
            Facts::Acknowledged(became.judge(*said))
        }
        (RequestFacts::Share(_), _) => Facts::None,
        (
            RequestFacts::EndTransaction {
                producer_id,
                committed,
            },
            _,
        ) if error.is_none() => Facts::TransactionEnded {
            producer_id,
            committed,
        },
        (RequestFacts::SaslHandshake { mechanism }, _) if error.is_some() => Facts::Authenticated {
            mechanism,
            accepted: false,
            principal: None,
        },
        (facts @ RequestFacts::Produce { .. }, _) => lost(facts),
        (facts, detail) => join_membership(facts, detail, error),
    }
}

/// Records without a context have one by their position.
fn name(context: &Context, bare: Vec<Bare>, parts: &mut [ProducedPart]) {
    if bare.is_empty() {
        return;
    }
    let shared = &context.shared;
    let cluster = shared.cluster_id.borrow().clone().unwrap_or_default();
    for bare in bare {
        if let Some(part) = parts.get_mut(bare.part) {
            bare.name(part, &cluster, &shared.inject);
        }
    }
}

fn with_results(
    mut parts: Vec<ProducedPart>,
    results: &ByPartition<PartitionResult>,
) -> Vec<ProducedPart> {
    for part in &mut parts {
        if let Some(result) = results.get(&part.topic, part.partition) {
            part.outcome = publish_outcome(result);
        }
    }
    parts
}

fn with_errors(mut parts: Vec<SettledPart>, codes: &ByPartition<i16>) -> Vec<SettledPart> {
    for part in &mut parts {
        let code = codes.get(&part.topic, part.partition).copied().unwrap_or(0);
        part.error = error_code::failure(code);
    }
    parts
}

fn join_membership(facts: RequestFacts, detail: Detail, error: Option<Failure>) -> Facts {
    match (facts, detail) {
        (
            RequestFacts::Join { group, .. },
            Detail::Joined {
                generation,
                member,
                first,
            },
        ) if error.is_none() => {
            let reason = if first { "join" } else { "rejoin" };
            membership(
                group,
                member,
                MembershipChange::Joined { generation, reason },
            )
        }
        (
            RequestFacts::Sync {
                group,
                member,
                generation,
                consumer: true,
            },
            Detail::Synced(Some(partitions)),
        ) if error.is_none() => membership(
            group,
            member,
            MembershipChange::Assigned {
                generation,
                partitions,
                share: false,
            },
        ),
        (
            RequestFacts::GroupHeartbeat {
                group,
                member,
                epoch,
                share,
            },
            detail,
        ) => group_heartbeat(group, member, epoch, share, detail, error),
        (
            RequestFacts::Heartbeat { group, member }
            | RequestFacts::Join { group, member }
            | RequestFacts::Sync { group, member, .. },
            _,
        ) => classic_state(group, member, error),
        (RequestFacts::Leave { group, members }, _) if error.is_none() => membership(
            group,
            members.into_iter().next().unwrap_or_default(),
            MembershipChange::Left,
        ),
        _ => Facts::None,
    }
}

fn publish_outcome(result: &PartitionResult) -> PublishOutcome {
    match error_code::failure(result.error_code) {
        None => PublishOutcome::Acknowledged {
            base_offset: result.base_offset,
            log_append_ms: result.log_append_time_ms.filter(|ms| *ms >= 0),
        },
        Some(failure) => PublishOutcome::Failed(failure),
    }
}

fn membership(group: Name, member: Name, change: MembershipChange) -> Facts {
    Facts::Membership(Membership {
        group,
        member,
        change,
    })
}

fn classic_state(group: Name, member: Name, error: Option<Failure>) -> Facts {
    let change = match error.map(|e| e.name) {
        None => MembershipChange::Beat {
            rebalancing: false,
            interval: None,
        },
        Some("REBALANCE_IN_PROGRESS") => MembershipChange::Beat {
            rebalancing: true,
            interval: None,
        },
        Some(reason @ ("UNKNOWN_MEMBER_ID" | "FENCED_INSTANCE_ID" | "ILLEGAL_GENERATION")) => {
            MembershipChange::Lost { reason }
        }
        Some(_) => return Facts::None,
    };
    membership(group, member, change)
}

fn group_heartbeat(
    group: Name,
    member: Name,
    asked_epoch: i32,
    share: bool,
    detail: Detail,
    error: Option<Failure>,
) -> Facts {
    if let Some(error) = error {
        return match error.name {
            "UNKNOWN_MEMBER_ID" | "FENCED_MEMBER_EPOCH" | "UNRELEASED_INSTANCE_ID" => {
                membership(group, member, MembershipChange::Lost { reason: error.name })
            }
            _ => Facts::None,
        };
    }
    // Epochs below zero announce a leave (KIP-848).
    if asked_epoch < 0 {
        return membership(group, member, MembershipChange::Left);
    }
    let Detail::Beaten {
        epoch,
        member: given,
        interval_ms,
        partitions,
    } = detail
    else {
        return Facts::None;
    };
    let member = given.unwrap_or(member);
    let change = match partitions {
        Some(partitions) => MembershipChange::Assigned {
            generation: epoch,
            partitions,
            share,
        },
        None => MembershipChange::Beat {
            rebalancing: false,
            interval: u64::try_from(interval_ms).ok().map(Duration::from_millis),
        },
    };
    membership(group, member, change)
}

/// Facts of a request whose answer was not read or never came.
fn lost(facts: RequestFacts) -> Facts {
    match facts {
        RequestFacts::Produce {
            acks,
            transactional,
            parts,
            bare: _,
        } => Facts::Produced(Produced {
            acks,
            transactional,
            parts,
        }),
        _ => Facts::None,
    }
}

/// A request that will never be answered.
pub(crate) fn unanswered(at: Stamp, pending: Pending) -> Unanswered {
    Unanswered {
        operation: pending.api.name(),
        waited: at.mono.saturating_duration_since(pending.sent),
        facts: lost(pending.facts),
    }
}
