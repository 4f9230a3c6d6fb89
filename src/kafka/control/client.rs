//! One client of a whole cluster: a connection per broker, each question put to the broker that can answer it.
//!
//! For the observer. A connection that broke is opened again once per question; what a broker did not answer is the
//! caller's to count. Must not ask anything on its own, hold results, or need more than the right to describe.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    super::{
        dial::HostPort,
        wire::{
            api::ApiKey,
            messages::{
                inventory::{
                    LAYOUT_VERSIONS, LaidTopic, Layout, OPERATION_DESCRIBE_CONFIGS, OPERATION_READ,
                    OPERATION_WRITE, allows,
                },
                requests::{MetadataTopics, metadata_request, topic_rights_request},
            },
        },
    },
    ProbeError,
    access::Access,
    connection::Connection,
    question::{
        self, AskedGroup, Coded, Disk, Edge, GroupKind, GroupListed, GroupPositions, PartitionName,
        Retention, Rights,
    },
    visible::{Sought, Visible, visible},
};

/// Brokers that are connected to; those past it are not watched.
pub const BROKERS_MAX: usize = 1_000;

/// A cluster as it is laid out now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterLayout {
    /// Cluster id, where it has one.
    pub id: Option<String>,
    /// Brokers that the cluster counts among its own now.
    pub brokers: BTreeSet<i32>,
    /// Topics that may be described.
    pub topics: Vec<TopicLayout>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicLayout {
    /// Name.
    pub name: Arc<str>,
    /// Its id: another after it was deleted and created again. Zeros where the broker tells none.
    pub id: [u8; 16],
    /// One of the brokers' own.
    pub internal: bool,
    /// Partitions, ascending.
    pub partitions: Vec<PartitionLayout>,
    /// Whether we may read its records; `None` = not asked, or not told.
    pub may_read: Option<bool>,
    /// Whether we may write to it.
    pub may_write: Option<bool>,
    /// Whether we may ask for its configuration.
    pub may_describe_configs: Option<bool>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLayout {
    /// Partition number.
    pub partition: i32,
    /// Node id of its leader, where it has one now.
    pub leader: Option<i32>,
    /// Node ids of all that hold it.
    pub replicas: Vec<i32>,
    /// How many of them follow.
    pub in_sync: u32,
}

/// A question and whom it goes to.
type Asked<A> = Vec<(i32, A)>;
/// What each broker answered.
pub type Answers<T> = Vec<(i32, Result<T, ProbeError>)>;

/// Asks a cluster.
#[derive(Debug)]
pub struct ClusterClient {
    bootstrap: Vec<HostPort>,
    access: Access,
    timeout: Duration,
    addresses: BTreeMap<i32, HostPort>,
    connections: HashMap<i32, Connection>,
}

impl ClusterClient {
    /// Connects to nothing yet. `timeout` is for one dial, for one login and for one answer.
    #[must_use]
    pub fn new(bootstrap: Vec<HostPort>, access: Access, timeout: Duration) -> Self {
        Self {
            bootstrap,
            access,
            timeout,
            addresses: BTreeMap::new(),
            connections: HashMap::new(),
        }
    }

    /// Asks one broker for the layout: one that is connected, one that is known, one of the bootstrap list. With `rights` also
    /// what we may do with each topic, which costs the broker more.
    ///
    /// # Errors
    /// The last fault, with the broker it was had from, where none answers.
    pub async fn layout(&mut self, rights: bool) -> Result<ClusterLayout, (HostPort, ProbeError)> {
        let mut last = None;
        let connected: Vec<i32> = self.connections.keys().copied().collect();
        for node in connected {
            let told = self.ask(vec![(node, LayoutAsk(rights))]).await;
            if let Some((_, Ok(told))) = told.into_iter().next() {
                return Ok(self.learn(told));
            }
        }
        let known: Vec<HostPort> = self.addresses.values().cloned().collect();
        for address in known.into_iter().chain(self.bootstrap.clone()) {
            let opened = Connection::open(&address, &self.access, self.timeout).await;
            let told = match opened {
                Ok(mut connection) => LayoutAsk(rights).ask(&mut connection, self.timeout).await,
                Err(fault) => Err(fault),
            };
            match told {
                Ok(told) => return Ok(self.learn(told)),
                Err(fault) => last = Some((address, fault)),
            }
        }
        Err(last.unwrap_or((
            HostPort {
                host: "kafka.bootstrap".to_owned(),
                port: 0,
            },
            ProbeError::Protocol("no broker is named; set kafka.bootstrap"),
        )))
    }

    fn learn(&mut self, told: LayoutTold) -> ClusterLayout {
        for (node, address) in told.addresses {
            self.address(node, address);
        }
        let layout = told.layout;
        let holders = layout.topics.iter().flat_map(|t| &t.partitions);
        let mut wanted: BTreeSet<i32> = holders.flat_map(|p| p.replicas.iter().copied()).collect();
        wanted.extend(&layout.brokers);
        self.addresses.retain(|node, _| wanted.contains(node));
        self.connections.retain(|node, _| wanted.contains(node));
        layout
    }

    fn address(&mut self, node: i32, address: HostPort) {
        let room = self.addresses.len() < BROKERS_MAX || self.addresses.contains_key(&node);
        if room && self.addresses.get(&node) != Some(&address) {
            self.connections.remove(&node);
            self.addresses.insert(node, address);
        }
    }

    /// Takes over addresses that another answer named, for brokers that have none yet.
    pub fn take_addresses(&mut self, brokers: &[(i32, String, i32)]) {
        for (node, host, port) in brokers {
            if let (Ok(port), false) = (u16::try_from(*port), self.addresses.contains_key(node)) {
                let host = host.clone();
                self.address(*node, HostPort { host, port });
            }
        }
    }

    /// Where a broker is, as far as known.
    #[must_use]
    pub fn address_of(&self, node: i32) -> Option<&HostPort> {
        self.addresses.get(&node)
    }

    /// Which of these answer.
    pub async fn probe(&mut self, nodes: &[i32]) -> Answers<()> {
        self.ask(nodes.iter().map(|node| (*node, AliveAsk)).collect())
            .await
    }

    /// What we may do, as one broker says it.
    pub async fn rights(&mut self, node: i32) -> Result<Rights, ProbeError> {
        first(self.ask(vec![(node, RightsAsk)]).await)
    }

    /// Groups that each of these brokers coordinates.
    pub async fn groups(&mut self, nodes: &[i32]) -> Answers<Coded<Vec<GroupListed>>> {
        self.ask(nodes.iter().map(|node| (*node, GroupsAsk)).collect())
            .await
    }

    /// Members of groups, by their coordinators.
    pub async fn members(
        &mut self,
        groups: BTreeMap<i32, Vec<(Arc<str>, GroupKind)>>,
    ) -> Answers<Vec<(Arc<str>, Result<u32, i16>)>> {
        let asks = groups.into_iter().map(|(node, g)| (node, MembersAsk(g)));
        self.ask(asks.collect()).await
    }

    /// Committed offsets of groups, by their coordinators; of topics in `names` only.
    pub async fn positions(
        &mut self,
        groups: BTreeMap<i32, Vec<AskedGroup>>,
        names: &Arc<HashMap<Arc<str>, ()>>,
    ) -> Answers<Vec<GroupPositions>> {
        let asks = groups.into_iter().map(|(node, groups)| {
            let names = Arc::clone(names);
            (node, PositionsAsk((groups, names)))
        });
        self.ask(asks.collect()).await
    }

    /// Coordinators of groups, as one broker says it.
    pub async fn coordinators(
        &mut self,
        node: i32,
        groups: Vec<Arc<str>>,
    ) -> Result<Vec<(Arc<str>, Result<i32, i16>)>, ProbeError> {
        first(self.ask(vec![(node, CoordinatorsAsk(groups))]).await)
    }

    /// Offsets of partitions, by their leaders.
    pub async fn edges(
        &mut self,
        edge: Edge,
        partitions: BTreeMap<i32, Arc<Vec<PartitionName>>>,
    ) -> Answers<Vec<(PartitionName, Result<i64, i16>)>> {
        let asks = partitions.into_iter();
        let asks = asks.map(|(node, partitions)| (node, EdgesAsk((edge, partitions))));
        self.ask(asks.collect()).await
    }

    /// First records, by the leaders of their partitions; answers in the order asked.
    pub async fn visible(
        &mut self,
        sought: BTreeMap<i32, Arc<Vec<Sought>>>,
    ) -> Answers<Vec<Visible>> {
        let asks = sought.into_iter();
        self.ask(asks.map(|(node, s)| (node, VisibleAsk(s))).collect())
            .await
    }

    /// Every topic that has a partition on one of these brokers, those among them that we may not describe.
    pub async fn stored_topics(&mut self, nodes: &[i32]) -> Answers<Coded<BTreeSet<String>>> {
        let asks = nodes.iter().map(|node| (*node, StoredTopicsAsk));
        self.ask(asks.collect()).await
    }

    /// The disks of each of these brokers; `held` = with the size of what is on them.
    pub async fn log_dirs(&mut self, nodes: &[i32], held: bool) -> Answers<Coded<Vec<Disk>>> {
        let asks = nodes.iter().map(|node| (*node, LogDirsAsk(held)));
        self.ask(asks.collect()).await
    }

    /// How topics forget, as one broker says it.
    pub async fn retentions(
        &mut self,
        node: i32,
        topics: Vec<Arc<str>>,
    ) -> Result<Vec<(Arc<str>, Result<Retention, i16>)>, ProbeError> {
        first(self.ask(vec![(node, RetentionsAsk(topics))]).await)
    }

    /// Puts each question to its broker, all at once.
    async fn ask<A: Ask>(&mut self, asked: Asked<A>) -> Answers<A::Answer> {
        let mut running = JoinSet::new();
        let mut answers = Vec::new();
        for (node, ask) in asked {
            let Some(address) = self.addresses.get(&node).cloned() else {
                let why = "the cluster names no address for this broker; is it down?";
                answers.push((node, Err(ProbeError::Protocol(why))));
                continue;
            };
            let open = self.connections.remove(&node);
            let (access, timeout) = (self.access.clone(), self.timeout);
            running.spawn(async move {
                let asked = put(open, &address, &access, timeout, &ask).await;
                (node, asked)
            });
        }
        while let Some(done) = running.join_next().await {
            let Ok((node, asked)) = done else { continue };
            answers.push((
                node,
                asked.map(|(connection, answer)| {
                    self.connections.insert(node, connection);
                    answer
                }),
            ));
        }
        answers
    }
}

fn first<T>(answers: Answers<T>) -> Result<T, ProbeError> {
    let none = ProbeError::Protocol("no broker was asked");
    answers.into_iter().next().map_or(Err(none), |(_, a)| a)
}

/// Asks over an open connection, or over a new one where there is none or it broke meanwhile.
async fn put<A: Ask>(
    open: Option<Connection>,
    address: &HostPort,
    access: &Access,
    timeout: Duration,
    ask: &A,
) -> Result<(Connection, A::Answer), ProbeError> {
    if let Some(mut connection) = open {
        match ask.ask(&mut connection, timeout).await {
            Ok(answer) => return Ok((connection, answer)),
            // Brokers close what idles, and what has not logged in anew for long.
            Err(ProbeError::Io(fault)) if fault.kind() != std::io::ErrorKind::TimedOut => {}
            Err(fault) => return Err(fault),
        }
    }
    let mut connection = Connection::open(address, access, timeout).await?;
    let answer = ask.ask(&mut connection, timeout).await?;
    Ok((connection, answer))
}

/// A question.
trait Ask: Send + Sync + 'static {
    type Answer: Send + 'static;

    fn ask(
        &self,
        connection: &mut Connection,
        timeout: Duration,
    ) -> impl Future<Output = Result<Self::Answer, ProbeError>> + Send;
}

macro_rules! asks {
    ($($name:ident $(($held:ty))? => $answer:ty, |$self:ident, $connection:ident, $timeout:ident| $how:expr;)*) => {$(
        struct $name $(($held))?;

        impl Ask for $name {
            type Answer = $answer;

            async fn ask(
                &$self,
                $connection: &mut Connection,
                $timeout: Duration,
            ) -> Result<$answer, ProbeError> {
                $how.await
            }
        }
    )*};
}

asks! {
    AliveAsk => (), |self, c, t| question::alive(c, t);
    RightsAsk => Rights, |self, c, t| question::rights(c, t);
    GroupsAsk => Coded<Vec<GroupListed>>, |self, c, t| question::groups(c, t);
    MembersAsk(Vec<(Arc<str>, GroupKind)>) => Vec<(Arc<str>, Result<u32, i16>)>,
        |self, c, t| question::members(c, t, &self.0);
    CoordinatorsAsk(Vec<Arc<str>>) => Vec<(Arc<str>, Result<i32, i16>)>,
        |self, c, t| question::coordinators(c, t, &self.0);
    VisibleAsk(Arc<Vec<Sought>>) => Vec<Visible>, |self, c, t| visible(c, t, &self.0);
    StoredTopicsAsk => Coded<BTreeSet<String>>, |self, c, t| question::stored_topics(c, t);
    LogDirsAsk(bool) => Coded<Vec<Disk>>, |self, c, t| question::log_dirs(c, t, self.0);
    RetentionsAsk(Vec<Arc<str>>) => Vec<(Arc<str>, Result<Retention, i16>)>,
        |self, c, t| question::retentions(c, t, &self.0);
    LayoutAsk(bool) => LayoutTold, |self, c, t| layout(c, t, self.0);
    PositionsAsk((Vec<AskedGroup>, Arc<HashMap<Arc<str>, ()>>)) => Vec<GroupPositions>,
        |self, c, t| question::positions(c, t, &self.0.0, &self.0.1);
    EdgesAsk((Edge, Arc<Vec<PartitionName>>)) => Vec<(PartitionName, Result<i64, i16>)>,
        |self, c, t| question::edges(c, t, self.0.0, &self.0.1);
}

/// A layout, and where its brokers are.
struct LayoutTold {
    layout: ClusterLayout,
    addresses: Vec<(i32, HostPort)>,
}

async fn layout(
    connection: &mut Connection,
    timeout: Duration,
    rights: bool,
) -> Result<LayoutTold, ProbeError> {
    let key = ApiKey::METADATA;
    let version = question::version(connection, key, LAYOUT_VERSIONS)?;
    let id = connection.next_id();
    let request = if rights {
        topic_rights_request(id, version)
    } else {
        metadata_request(id, version, MetadataTopics::All)
    };
    let body = question::exchange(connection, timeout, key, version, request).await?;
    let told = Layout::read(&body, version)?;
    let addresses = addresses(&told);
    let topics = told.topics.iter().filter_map(laid);
    Ok(LayoutTold {
        layout: ClusterLayout {
            id: told.cluster_id.map(str::to_owned),
            brokers: told.brokers.iter().map(|(node, ..)| *node).collect(),
            topics: topics.collect(),
        },
        addresses,
    })
}

/// Where the brokers of an answer are.
pub(super) fn addresses(told: &Layout<'_>) -> Vec<(i32, HostPort)> {
    let all = told.brokers.iter().filter_map(|(node, host, port)| {
        let port = u16::try_from(*port).ok()?;
        let host = (*host).to_owned();
        Some((*node, HostPort { host, port }))
    });
    all.collect()
}

/// A topic as one answer describes it; `None` where it does not.
pub(super) fn laid(topic: &LaidTopic<'_>) -> Option<TopicLayout> {
    let partitions = topic.partitions.iter();
    let mut partitions: Vec<PartitionLayout> = partitions
        .map(|p| PartitionLayout {
            partition: p.partition,
            leader: (p.leader >= 0).then_some(p.leader),
            replicas: p.replicas.clone(),
            in_sync: p.in_sync,
        })
        .collect();
    partitions.sort_unstable_by_key(|p| p.partition);
    (topic.error_code == 0).then_some(TopicLayout {
        name: topic.name?.into(),
        id: topic.id,
        internal: topic.internal,
        partitions,
        may_read: allows(topic.operations, OPERATION_READ),
        may_write: allows(topic.operations, OPERATION_WRITE),
        may_describe_configs: allows(topic.operations, OPERATION_DESCRIBE_CONFIGS),
    })
}
