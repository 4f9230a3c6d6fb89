//! The programs of the demo: a producer of orders, and three consumer groups that answer each order with a record.
//!
//! Here as a user's programs would be: ordinary clients that know one bootstrap address and nothing of a sidecar. Must not
//! tell the view or the checks anything.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    pipeline::{Board, Phase},
    plan::{Fault, Plan, TICK},
    topology::{DEAD_LETTERS, GROUPS, ORDERS, PAYMENTS, RESERVATIONS, SHIPMENTS},
};
use crate::kafka::cluster::{ClusterError, Consumer, Incoming, Outgoing, Producer};

/// Longest wait for one record before the phase is looked at again.
const POLL: Duration = Duration::from_millis(200);
/// A member that drains is done when nothing came for this long.
const IDLE: Duration = Duration::from_millis(1_500);
/// Checkout begins without all groups after this long, so that a group that cannot join is seen as lag.
const JOIN_LIMIT: Duration = Duration::from_secs(20);
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Which consuming service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Billing,
    Inventory,
    Fulfilment,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Billing, Self::Inventory, Self::Fulfilment];

    /// Service, group and client id.
    pub(super) const fn name(self) -> &'static str {
        let [billing, inventory, fulfilment] = GROUPS;
        match self {
            Self::Billing => billing,
            Self::Inventory => inventory,
            Self::Fulfilment => fulfilment,
        }
    }
}

/// Publishes orders from the moment the groups have joined until told to drain.
pub(super) struct Checkout {
    pub(super) producer: Producer,
    pub(super) plan: Plan,
    pub(super) board: Arc<Board>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Checkout {
    pub(super) async fn run(mut self) -> Result<(), ClusterError> {
        tokio::select! {
            () = self.board.all_joined(GROUPS.len()) => {}
            () = sleep(JOIN_LIMIT) => {}
            () = reached(&mut self.phase, Phase::Draining) => {}
        }
        self.board.begin();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut tick, mut next) = (0_u64, 0_u64);
        while *self.phase.borrow() < Phase::Draining {
            ticks.tick().await;
            let until = next.saturating_add(self.plan.orders_in_tick(tick));
            if let Err(fault) = self.publish(next..until).await {
                tracing::warn!(service = "checkout", %fault, "orders of this moment are lost");
            }
            (tick, next) = (tick.saturating_add(1), until);
        }
        self.board.hold();
        reached(&mut self.phase, Phase::Closed).await;
        self.producer.close().await
    }

    async fn publish(&self, numbers: std::ops::Range<u64>) -> Result<(), ClusterError> {
        let mut in_flight = Vec::new();
        for number in numbers {
            let order = self.plan.order(number);
            let headers = [header("message-id", &order.id), json(), ours()];
            for _ in 0..if order.twice { 2 } else { 1 } {
                in_flight.push(self.producer.begin(&Outgoing {
                    topic: ORDERS.name,
                    key: order.id.as_bytes(),
                    value: order.value.as_bytes(),
                    headers: &headers,
                })?);
            }
        }
        for record in in_flight {
            record.acknowledged().await?;
        }
        Ok(())
    }
}

/// One member of one group: takes an order, works, publishes the answer, and only then counts the order as processed.
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) consumer: Consumer,
    pub(super) producer: Producer,
    pub(super) plan: Plan,
    pub(super) board: Arc<Board>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Member {
    pub(super) async fn run(mut self) -> Result<(), ClusterError> {
        self.consume().await;
        if let Err(fault) = self.consumer.commit().await {
            tracing::warn!(service = self.kind.name(), %fault, "what was processed may be delivered again");
        }
        self.board.hold();
        reached(&mut self.phase, Phase::Closed).await;
        let closed = self.producer.close().await;
        self.consumer.close().await?;
        closed
    }

    async fn consume(&self) {
        let mut joined = false;
        let mut last = Instant::now();
        loop {
            let phase = *self.phase.borrow();
            let idle = phase == Phase::Draining && joined && last.elapsed() > IDLE;
            if phase >= Phase::Held || idle {
                return;
            }
            match self.consumer.next(POLL).await {
                Ok(Some(order)) => {
                    self.process(&order).await;
                    last = Instant::now();
                }
                Ok(None) => {}
                Err(fault) => {
                    tracing::warn!(service = self.kind.name(), %fault, "trying again");
                    sleep(RETRY_PAUSE).await;
                }
            }
            if !joined && self.consumer.is_assigned() {
                joined = true;
                self.board.join();
            }
        }
    }

    /// Works on an order until its answer is acknowledged. Told to hold meanwhile, it leaves the order unprocessed.
    async fn process(&self, order: &Incoming) {
        sleep(self.work()).await;
        while let Err(fault) = self.answer(order).await {
            tracing::warn!(service = self.kind.name(), %fault, "trying again");
            sleep(RETRY_PAUSE).await;
            if *self.phase.borrow() >= Phase::Held {
                return;
            }
        }
        if let Err(fault) = self.consumer.processed(order) {
            // The partition went to another member, who will see the order again.
            tracing::debug!(service = self.kind.name(), %fault, "not stored");
        }
    }

    fn work(&self) -> Duration {
        match self.kind {
            Kind::Billing => Duration::from_millis(4),
            Kind::Inventory => Duration::from_millis(2),
            Kind::Fulfilment => {
                let draining = *self.phase.borrow() >= Phase::Draining;
                self.plan.fulfilment_work(self.board.since(), draining)
            }
        }
    }

    async fn answer(&self, order: &Incoming) -> Result<(), ClusterError> {
        let key = order.key.as_deref().unwrap_or_default();
        let (topic, word) = match self.kind {
            Kind::Billing => match self.plan.fault(key) {
                Some(fault) => return self.dead_letter(order, fault).await,
                None => (PAYMENTS, "payment"),
            },
            Kind::Inventory => (RESERVATIONS, "reservation"),
            Kind::Fulfilment => (SHIPMENTS, "shipment"),
        };
        let id = String::from_utf8_lossy(key);
        let value = format!(r#"{{"{word}_id":"{word}-{id}","order_id":"{id}"}}"#);
        let headers = [
            header("message-id", &format!("{word}-{id}")),
            json(),
            ours(),
        ];
        let answer = Outgoing {
            topic: topic.name,
            key,
            value: value.as_bytes(),
            headers: &headers,
        };
        self.producer.send(&answer).await
    }

    /// Publishes the order as it is to the dead-letter topic, with the headers Spring Kafka's recoverer adds.
    async fn dead_letter(&self, order: &Incoming, fault: Fault) -> Result<(), ClusterError> {
        let mut headers = order.headers.clone();
        let timestamp = order.timestamp_ms.unwrap_or(-1);
        headers.extend([
            header("kafka_dlt-original-topic", &order.topic),
            bytes(
                "kafka_dlt-original-partition",
                &order.partition.to_be_bytes(),
            ),
            bytes("kafka_dlt-original-offset", &order.offset.to_be_bytes()),
            bytes("kafka_dlt-original-timestamp", &timestamp.to_be_bytes()),
            header("kafka_dlt-original-timestamp-type", "CreateTime"),
            header("kafka_dlt-original-consumer-group", self.kind.name()),
            header("kafka_dlt-exception-fqcn", fault.exception),
            header("kafka_dlt-exception-message", fault.message),
        ]);
        let letter = Outgoing {
            topic: DEAD_LETTERS.name,
            key: order.key.as_deref().unwrap_or_default(),
            value: order.value.as_deref().unwrap_or_default(),
            headers: &headers,
        };
        self.producer.send(&letter).await
    }
}

/// Resolves once the pipeline is in this phase or past it, or gone.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    phase.wait_for(|now| *now >= wanted).await.map(drop).ok();
}

fn header(key: &str, value: &str) -> (String, Vec<u8>) {
    bytes(key, value.as_bytes())
}

fn bytes(key: &str, value: &[u8]) -> (String, Vec<u8>) {
    (key.to_owned(), value.to_vec())
}

fn json() -> (String, Vec<u8>) {
    header("content-type", "application/json")
}

/// Says whose records these are, to somebody who finds them in a cluster later.
fn ours() -> (String, Vec<u8>) {
    header("written-by", "throughline demo")
}
