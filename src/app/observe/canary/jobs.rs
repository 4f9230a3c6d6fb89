//! What is asked of brokers for the canary, each question a task of its own.
//!
//! A broker that hangs holds up its own lane alone. Times are taken here, where the answer arrives. Must not judge.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use crate::{
    event::Stamp,
    kafka::{
        control::{
            Access, BrokerLane, ByPartition, OwnRead, OwnRecord, PartitionName, ProbeError,
            TopicTold,
        },
        dial::HostPort,
    },
};

/// Time for one dial, one login, and for what a broker may take to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a broker may wait for records before it answers that there are none.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// Header that says whose record it is: `<instance>/<number>`.
pub(super) const HEADER: &str = "throughline-canary";

/// Numbers of records by partition.
pub(super) type Numbers = Vec<(i32, Vec<u64>)>;

/// One connection and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Layout and coordinator: to any broker.
    Layout,
    /// Records to one broker.
    Write(i32),
    /// Records from one broker.
    Read(i32),
    /// Commits to one broker.
    Commit(i32),
}

/// An answer.
#[derive(Debug)]
pub(super) enum Told {
    Layout(Result<TopicTold, (HostPort, ProbeError)>),
    Coordinator(Result<Result<i32, i16>, ProbeError>),
    Written {
        sent: Numbers,
        answer: Result<ByPartition<i64>, ProbeError>,
    },
    Placed(Result<ByPartition<(i64, i64)>, ProbeError>),
    Read {
        from: Vec<(i32, i64)>,
        answer: Result<ByPartition<OwnRead>, ProbeError>,
    },
    Committed {
        began: Instant,
        offsets: Vec<(i32, i64)>,
        answer: Result<ByPartition<()>, ProbeError>,
    },
}

/// A task that ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) lane: Lane,
    pub(super) connection: Option<BrokerLane>,
    /// When the answer was there.
    pub(super) at: Instant,
    pub(super) told: Told,
}

fn done(lane: Lane, connection: Option<BrokerLane>, told: Told) -> Done {
    Done {
        lane,
        connection,
        at: Instant::now(),
        told,
    }
}

/// Asks one of these brokers for the topic, the first that answers.
pub(super) fn layout(
    jobs: &mut JoinSet<Done>,
    open: Option<BrokerLane>,
    others: Vec<HostPort>,
    access: Access,
    topic: String,
) {
    jobs.spawn(async move {
        let fault = ProbeError::Protocol("no broker is named; set kafka.bootstrap");
        let host = "kafka.bootstrap".to_owned();
        let mut last = (HostPort { host, port: 0 }, fault);
        let tried = open.as_ref().map(|lane| lane.address().clone());
        let others = others.into_iter().filter(|a| Some(a) != tried.as_ref());
        let others = others.map(|address| BrokerLane::new(address, access.clone(), TIMEOUT));
        for mut lane in open.into_iter().chain(others) {
            match lane.topic(&topic).await {
                Ok(told) => return done(Lane::Layout, Some(lane), Told::Layout(Ok(told))),
                Err(fault) => last = (lane.address().clone(), fault),
            }
        }
        done(Lane::Layout, None, Told::Layout(Err(last)))
    });
}

pub(super) fn coordinator(jobs: &mut JoinSet<Done>, mut lane: BrokerLane, group: String) {
    jobs.spawn(async move {
        let answer = lane.coordinator(&group).await;
        done(Lane::Layout, Some(lane), Told::Coordinator(answer))
    });
}

pub(super) fn write(
    jobs: &mut JoinSet<Done>,
    (node, mut lane): (i32, BrokerLane),
    topic: String,
    instance: &str,
    sent: Numbers,
) {
    let at_ms = Stamp::now().wall_ms;
    let records: Vec<(i32, Vec<OwnRecord>)> = sent
        .iter()
        .map(|(partition, numbers)| {
            let record = |number: &u64| OwnRecord {
                value: at_ms.to_string().into_bytes(),
                header: Some((HEADER, format!("{instance}/{number}"))),
            };
            (*partition, numbers.iter().map(record).collect())
        })
        .collect();
    jobs.spawn(async move {
        let answer = lane.produce(&topic, &records, at_ms).await;
        let told = Told::Written { sent, answer };
        done(Lane::Write(node), Some(lane), told)
    });
}

pub(super) fn place(
    jobs: &mut JoinSet<Done>,
    (node, mut lane): (i32, BrokerLane),
    partitions: Vec<PartitionName>,
) {
    jobs.spawn(async move {
        let answer = lane.ranges(&partitions).await;
        done(Lane::Read(node), Some(lane), Told::Placed(answer))
    });
}

pub(super) fn read(
    jobs: &mut JoinSet<Done>,
    (node, mut lane): (i32, BrokerLane),
    topic: String,
    from: Vec<(i32, i64)>,
) {
    jobs.spawn(async move {
        let answer = lane.fetch(&topic, &from, HEADER, FETCH_WAIT).await;
        done(Lane::Read(node), Some(lane), Told::Read { from, answer })
    });
}

pub(super) fn commit(
    jobs: &mut JoinSet<Done>,
    (node, mut lane): (i32, BrokerLane),
    group: String,
    topic: String,
    offsets: Vec<(i32, i64)>,
) {
    jobs.spawn(async move {
        let began = Instant::now();
        let answer = lane.commit(&group, &topic, &offsets).await;
        let told = Told::Committed {
            began,
            offsets,
            answer,
        };
        done(Lane::Commit(node), Some(lane), told)
    });
}
