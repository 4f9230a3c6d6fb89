//! The APIs of the protocol: key, name, newest version this build knows, first flexible version.
//!
//! Source: the request schemas of kafka-clients 4.4.0; `tests/wire_schemas.rs` compares this table with the newest jar.
//! Must not decide what is read or changed; that is `policy`.

/// An API key as it stands in a request header. Open: unknown keys pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKey(pub i16);

#[allow(missing_docs, reason = "the names are the protocol's own")]
impl ApiKey {
    pub const PRODUCE: Self = Self(0);
    pub const FETCH: Self = Self(1);
    pub const LIST_OFFSETS: Self = Self(2);
    pub const METADATA: Self = Self(3);
    pub const OFFSET_COMMIT: Self = Self(8);
    pub const OFFSET_FETCH: Self = Self(9);
    pub const FIND_COORDINATOR: Self = Self(10);
    pub const JOIN_GROUP: Self = Self(11);
    pub const HEARTBEAT: Self = Self(12);
    pub const LEAVE_GROUP: Self = Self(13);
    pub const SYNC_GROUP: Self = Self(14);
    pub const DESCRIBE_GROUPS: Self = Self(15);
    pub const LIST_GROUPS: Self = Self(16);
    pub const SASL_HANDSHAKE: Self = Self(17);
    pub const API_VERSIONS: Self = Self(18);
    pub const CREATE_TOPICS: Self = Self(19);
    pub const DELETE_TOPICS: Self = Self(20);
    pub const DELETE_RECORDS: Self = Self(21);
    pub const INIT_PRODUCER_ID: Self = Self(22);
    pub const OFFSET_FOR_LEADER_EPOCH: Self = Self(23);
    pub const ADD_PARTITIONS_TO_TXN: Self = Self(24);
    pub const ADD_OFFSETS_TO_TXN: Self = Self(25);
    pub const END_TXN: Self = Self(26);
    pub const TXN_OFFSET_COMMIT: Self = Self(28);
    pub const DESCRIBE_ACLS: Self = Self(29);
    pub const CREATE_ACLS: Self = Self(30);
    pub const DELETE_ACLS: Self = Self(31);
    pub const DESCRIBE_CONFIGS: Self = Self(32);
    pub const ALTER_CONFIGS: Self = Self(33);
    pub const DESCRIBE_LOG_DIRS: Self = Self(35);
    pub const SASL_AUTHENTICATE: Self = Self(36);
    pub const CREATE_PARTITIONS: Self = Self(37);
    pub const DELETE_GROUPS: Self = Self(42);
    pub const INCREMENTAL_ALTER_CONFIGS: Self = Self(44);
    pub const OFFSET_DELETE: Self = Self(47);
    pub const DESCRIBE_CLUSTER: Self = Self(60);
    pub const CONSUMER_GROUP_HEARTBEAT: Self = Self(68);
    pub const CONSUMER_GROUP_DESCRIBE: Self = Self(69);
    pub const DESCRIBE_TOPIC_PARTITIONS: Self = Self(75);
    pub const SHARE_GROUP_HEARTBEAT: Self = Self(76);
    pub const SHARE_GROUP_DESCRIBE: Self = Self(77);
    pub const SHARE_FETCH: Self = Self(78);
    pub const SHARE_ACKNOWLEDGE: Self = Self(79);
    pub const DESCRIBE_SHARE_GROUP_OFFSETS: Self = Self(90);
    pub const STREAMS_GROUP_HEARTBEAT: Self = Self(88);
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Key.
    pub key: ApiKey,
    /// The schema's name without `Request`; a bounded set, used as a metric label.
    pub name: &'static str,
    /// Newest version in the schemas this build was written against.
    pub newest: i16,
    /// First version with compact lengths and tagged fields; `None` where there is none.
    pub first_flexible: Option<i16>,
}

const NEVER: i16 = i16::MAX;

const fn api(key: i16, name: &'static str, newest: i16, first_flexible: i16) -> Api {
    Api {
        key: ApiKey(key),
        name,
        newest,
        first_flexible: if first_flexible == NEVER {
            None
        } else {
            Some(first_flexible)
        },
    }
}

/// All APIs this build knows, by ascending key.
pub const APIS: [Api; 91] = [
    api(0, "Produce", 13, 9),
    api(1, "Fetch", 18, 12),
    api(2, "ListOffsets", 11, 6),
    api(3, "Metadata", 13, 9),
    api(8, "OffsetCommit", 10, 8),
    api(9, "OffsetFetch", 10, 6),
    api(10, "FindCoordinator", 6, 3),
    api(11, "JoinGroup", 9, 6),
    api(12, "Heartbeat", 4, 4),
    api(13, "LeaveGroup", 5, 4),
    api(14, "SyncGroup", 5, 4),
    api(15, "DescribeGroups", 6, 5),
    api(16, "ListGroups", 5, 3),
    api(17, "SaslHandshake", 1, NEVER),
    api(18, "ApiVersions", 5, 3),
    api(19, "CreateTopics", 7, 5),
    api(20, "DeleteTopics", 6, 4),
    api(21, "DeleteRecords", 2, 2),
    api(22, "InitProducerId", 6, 2),
    api(23, "OffsetForLeaderEpoch", 4, 4),
    api(24, "AddPartitionsToTxn", 5, 3),
    api(25, "AddOffsetsToTxn", 4, 3),
    api(26, "EndTxn", 5, 3),
    api(27, "WriteTxnMarkers", 2, 1),
    api(28, "TxnOffsetCommit", 6, 3),
    api(29, "DescribeAcls", 3, 2),
    api(30, "CreateAcls", 3, 2),
    api(31, "DeleteAcls", 3, 2),
    api(32, "DescribeConfigs", 4, 4),
    api(33, "AlterConfigs", 2, 2),
    api(34, "AlterReplicaLogDirs", 2, 2),
    api(35, "DescribeLogDirs", 5, 2),
    api(36, "SaslAuthenticate", 2, 2),
    api(37, "CreatePartitions", 3, 2),
    api(38, "CreateDelegationToken", 3, 2),
    api(39, "RenewDelegationToken", 2, 2),
    api(40, "ExpireDelegationToken", 2, 2),
    api(41, "DescribeDelegationToken", 3, 2),
    api(42, "DeleteGroups", 3, 2),
    api(43, "ElectLeaders", 2, 2),
    api(44, "IncrementalAlterConfigs", 1, 1),
    api(45, "AlterPartitionReassignments", 1, 0),
    api(46, "ListPartitionReassignments", 0, 0),
    api(47, "OffsetDelete", 0, NEVER),
    api(48, "DescribeClientQuotas", 1, 1),
    api(49, "AlterClientQuotas", 1, 1),
    api(50, "DescribeUserScramCredentials", 0, 0),
    api(51, "AlterUserScramCredentials", 0, 0),
    api(52, "Vote", 2, 0),
    api(53, "BeginQuorumEpoch", 1, 1),
    api(54, "EndQuorumEpoch", 1, 1),
    api(55, "DescribeQuorum", 2, 0),
    api(56, "AlterPartition", 3, 0),
    api(57, "UpdateFeatures", 2, 0),
    api(58, "Envelope", 0, 0),
    api(59, "FetchSnapshot", 1, 0),
    api(60, "DescribeCluster", 2, 0),
    api(61, "DescribeProducers", 0, 0),
    api(62, "BrokerRegistration", 4, 0),
    api(63, "BrokerHeartbeat", 2, 0),
    api(64, "UnregisterBroker", 0, 0),
    api(65, "DescribeTransactions", 0, 0),
    api(66, "ListTransactions", 2, 0),
    api(67, "AllocateProducerIds", 0, 0),
    api(68, "ConsumerGroupHeartbeat", 1, 0),
    api(69, "ConsumerGroupDescribe", 1, 0),
    api(70, "ControllerRegistration", 0, 0),
    api(71, "GetTelemetrySubscriptions", 0, 0),
    api(72, "PushTelemetry", 0, 0),
    api(73, "AssignReplicasToDirs", 0, 0),
    api(74, "ListConfigResources", 1, 0),
    api(75, "DescribeTopicPartitions", 0, 0),
    api(76, "ShareGroupHeartbeat", 1, 0),
    api(77, "ShareGroupDescribe", 1, 0),
    api(78, "ShareFetch", 2, 0),
    api(79, "ShareAcknowledge", 2, 0),
    api(80, "AddRaftVoter", 1, 0),
    api(81, "RemoveRaftVoter", 0, 0),
    api(82, "UpdateRaftVoter", 0, 0),
    api(83, "InitializeShareGroupState", 0, 0),
    api(84, "ReadShareGroupState", 0, 0),
    api(85, "WriteShareGroupState", 1, 0),
    api(86, "DeleteShareGroupState", 0, 0),
    api(87, "ReadShareGroupStateSummary", 1, 0),
    api(88, "StreamsGroupHeartbeat", 1, 0),
    api(89, "StreamsGroupDescribe", 1, 0),
    api(90, "DescribeShareGroupOffsets", 1, 0),
    api(91, "AlterShareGroupOffsets", 0, 0),
    api(92, "DeleteShareGroupOffsets", 0, 0),
    api(93, "StreamsGroupTopologyDescriptionUpdate", 0, 0),
    api(94, "UnregisterController", 0, 0),
];

/// Name of an API that is not in the table, for labels.
pub const UNKNOWN_API: &str = "Unknown";

impl ApiKey {
    /// The row of this key, if there is one.
    #[must_use]
    pub fn api(self) -> Option<&'static Api> {
        APIS.binary_search_by_key(&self.0, |api| api.key.0)
            .ok()
            .and_then(|i| APIS.get(i))
    }

    /// The schema's name, or [`UNKNOWN_API`].
    #[must_use]
    pub fn name(self) -> &'static str {
        self.api().map_or(UNKNOWN_API, |api| api.name)
    }

    /// Whether `version` of this API is flexible. False for an unknown API.
    #[must_use]
    pub fn is_flexible(self, version: i16) -> bool {
        self.api()
            .and_then(|api| api.first_flexible)
            .is_some_and(|first| version >= first)
    }

    /// Whether the response header has tagged fields. Responses to ApiVersions never do, so that a client which does not
    /// know the broker's version can read them (KIP-511).
    #[must_use]
    pub fn has_flexible_response_header(self, version: i16) -> bool {
        self != Self::API_VERSIONS && self.is_flexible(version)
    }
}
