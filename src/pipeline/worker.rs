//! The cold worker: everything that has state, on the telemetry runtime.
//!
//! Takes what has queued, then rests, so that a busy sidecar wakes the thread 50 times a second and not once per event. Must
//! not be awaited by the dataplane.

use std::{collections::BTreeMap, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc::Receiver, watch},
    time::{Instant, MissedTickBehavior},
};

use super::{
    Settings,
    decode::Decoder,
    gauges,
    names::Names,
    notes::Notes,
    ownership::Owned,
    sampling::{Adjusting, Sampling},
    sink::Recording,
    snapshot::{Snapshot, Snapshots, TopicView, group_views, seconds},
    telling::Telling,
    traffic,
};
use crate::{
    audit::{self, Trail},
    catalog::Inventory,
    event::{Direction, Event, Name, Stamp},
    lineage::Graph,
    metrics::{Dropped, Id, Metrics, Recorder},
    sli::{Engine, GroupStatus, TopicHealth},
    span::{Sink, Spans},
};

/// Events taken from the queue at once.
pub const BATCH_EVENTS: usize = 256;
/// Rest after the queue was emptied.
pub const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at deadlines, gauges and the snapshot.
pub const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks for idle series.
const EXPIRE_TICKS: u32 = 60;

/// Owns the engine, the inventory and the writing side of the registry.
#[derive(Debug)]
pub struct Worker {
    queue: Receiver<Event>,
    engine: Box<Engine>,
    inventory: Inventory,
    recorder: Recorder,
    names: Names,
    owned: Owned,
    decoder: Decoder,
    sampling: Arc<Sampling>,
    adjusting: Adjusting,
    snapshots: Snapshots,
    /// Events that the hot side dropped, and how many of them were noticed.
    dropped: (Dropped, u64),
    partitions: bool,
    ticks: u32,
    tracing: Option<Tracing>,
    auditing: Option<Auditing>,
    telling: Option<Telling>,
    graph: Graph,
}

/// What makes the audit trail of the events, and where it goes.
pub struct Auditing {
    /// Makes it.
    pub trail: Trail,
    /// Takes it.
    pub sink: Box<dyn audit::Sink + Send>,
    /// Counts what could not be told apart any more.
    pub too_many: Dropped,
}

impl fmt::Debug for Auditing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditing")
            .field("trail", &self.trail)
            .finish_non_exhaustive()
    }
}

impl Auditing {
    fn tick(&mut self, now: Stamp) {
        self.trail.tick(now.mono, self.sink.as_mut());
        let counted = self.too_many.count();
        self.too_many
            .add(self.trail.dropped().saturating_sub(counted));
    }
}

/// What makes spans of the events, and where they go.
pub struct Tracing {
    /// Makes them.
    pub spans: Spans,
    /// Takes them.
    pub sink: Box<dyn Sink + Send>,
    /// The cluster id, once it is known.
    pub cluster: watch::Receiver<Option<String>>,
    /// Counts delivered records that were never seen to be settled.
    pub given_up: Dropped,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("spans", &self.spans)
            .finish_non_exhaustive()
    }
}

impl Tracing {
    /// The first spans already say which cluster it is.
    fn learn(&mut self) {
        if let Some(id) = self.cluster.borrow_and_update().as_deref() {
            self.spans.set_cluster(id);
        }
    }

    fn tick(&mut self, now: Stamp) {
        let before = self.spans.given_up();
        self.spans.tick(now.mono, self.sink.as_mut());
        self.given_up
            .add(self.spans.given_up().saturating_sub(before));
    }
}

impl Worker {
    /// Keeps an audit trail from now on.
    pub fn audit(&mut self, auditing: Auditing) {
        self.auditing = Some(auditing);
    }

    /// Keeps an event log from now on.
    pub fn tell(&mut self, telling: Telling) {
        self.decoder.keep_late();
        self.telling = Some(telling);
    }

    /// Makes spans from now on.
    pub fn trace(&mut self, tracing: Tracing) {
        self.tracing = Some(tracing);
    }

    pub(super) fn new(
        settings: Settings,
        engine: Engine,
        metrics: &Arc<Metrics>,
        (decoder, sampling): (Decoder, Arc<Sampling>),
        queue: Receiver<Event>,
        now: Instant,
    ) -> Self {
        let mut recorder = metrics.recorder(now);
        for direction in Direction::ALL {
            recorder.touch(Id::ThrottledSeconds, &[direction.as_str()]);
        }
        for (operation, resource) in settings.refusable {
            recorder.touch(Id::AuthorizationFailures, &[operation, resource]);
        }
        for mechanism in settings.mechanisms {
            recorder.touch(Id::AuthenticationFailures, &[mechanism]);
        }
        Self {
            queue,
            engine: Box::new(engine),
            inventory: Inventory::default(),
            recorder,
            names: Names::new(settings.names),
            owned: Owned::new(settings.ownership),
            decoder,
            sampling,
            adjusting: Adjusting::new(now),
            snapshots: Snapshots::default(),
            dropped: (metrics.dropped("events", "queue_full"), 0),
            partitions: settings.partitions,
            ticks: 0,
            tracing: None,
            auditing: None,
            telling: None,
            graph: Graph::default(),
        }
    }

    /// Where the pages read.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// Works until `stop`, or until the last hot side is gone; then takes what is still queued and ends.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = Vec::with_capacity(BATCH_EVENTS);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                _ = tick.tick() => self.tick(Stamp::now()),
                taken = self.queue.recv_many(&mut events, BATCH_EVENTS) => {
                    if taken == 0 {
                        break;
                    }
                    self.work(&mut events);
                    if taken < BATCH_EVENTS {
                        tokio::select! {
                            () = &mut stop => break,
                            () = tokio::time::sleep(PAUSE) => {}
                        }
                    } else {
                        // A full queue must not keep scrapes on the same thread waiting.
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        self.drain(events).await;
    }

    async fn drain(mut self, mut events: Vec<Event>) {
        self.queue.close();
        while self.queue.recv_many(&mut events, BATCH_EVENTS).await > 0 {
            self.work(&mut events);
        }
        self.tick(Stamp::now());
        if let Some(tracing) = &mut self.tracing {
            tracing.spans.finish(tracing.sink.as_mut());
        }
        if let Some(auditing) = &mut self.auditing {
            auditing.trail.finish(auditing.sink.as_mut());
        }
    }

    /// Takes these events and empties the list.
    pub(super) fn work(&mut self, events: &mut Vec<Event>) {
        let (dropped, noticed) = &mut self.dropped;
        let count = dropped.count();
        // Whatever came into the queue behind a dropped event did so after it was counted.
        if std::mem::replace(noticed, count) != count {
            self.engine.missed(Stamp::now());
        }
        if let Some(tracing) = &mut self.tracing {
            tracing.learn();
        }
        if let Some(telling) = &mut self.telling {
            telling.learn();
        }
        for event in events.drain(..) {
            self.decoder.refill(event.at.mono);
            self.recorder.set_now(event.at.mono);
            traffic::observe(&event, &mut self.recorder, &mut self.names);
            self.inventory.take(&event);
            self.graph.take(&event);
            if let Some(tracing) = &mut self.tracing {
                tracing.spans.take(&event, tracing.sink.as_mut());
            }
            if let Some(auditing) = &mut self.auditing {
                auditing.trail.take(&event, auditing.sink.as_mut());
            }
            let doubles = self.tracing.as_ref().is_some_and(Tracing::wants_duplicates);
            let wanted = doubles || self.telling.is_some();
            let mut notes = wanted.then(Notes::default);
            let mut sink = Recording {
                recorder: &mut self.recorder,
                names: &mut self.names,
                notes: notes.as_mut(),
            };
            self.engine.take(&event, &mut self.decoder, &mut sink);
            if let (Some(telling), Some(notes)) = (&mut self.telling, &notes) {
                telling.take(&event, notes, &mut self.decoder);
            }
            if let (Some(tracing), Some(notes)) = (&mut self.tracing, &notes) {
                tracing.duplicates(&event, notes, &mut self.decoder);
            }
        }
    }

    /// Deadlines, gauges, snapshot.
    pub(super) fn tick(&mut self, now: Stamp) {
        self.ticks = self.ticks.wrapping_add(1);
        self.decoder.refill(now.mono);
        self.sampling.adjust(&mut self.adjusting, now.mono);
        self.recorder.set_now(now.mono);
        self.inventory.tick(now.mono);
        self.graph.tick(now.mono);
        if let Some(tracing) = &mut self.tracing {
            tracing.tick(now);
        }
        if let Some(auditing) = &mut self.auditing {
            auditing.tick(now);
        }
        let mut notes = self.telling.is_some().then(Notes::default);
        let mut sink = Recording {
            recorder: &mut self.recorder,
            names: &mut self.names,
            notes: notes.as_mut(),
        };
        self.engine.tick(now, &mut self.decoder, &mut sink);
        if let (Some(telling), Some(notes)) = (&mut self.telling, &notes) {
            telling.late(notes, &mut self.decoder, now);
            telling.tick(now);
            self.decoder.forget_late();
        }
        let lags = self.engine.lags(now);
        let groups = self.engine.groups(now);
        let health = self.engine.health();
        let (recorder, names) = (&mut self.recorder, &mut self.names);
        let mut table = gauges::lag_table(&lags, names);
        gauges::lag(&table, &lags, self.partitions, recorder, names);
        gauges::groups(&groups, recorder, names);
        let readers = gauges::reader_table(self.engine.readers(now), names);
        gauges::readers(&readers, recorder);
        gauges::describe(&mut table, &readers);
        gauges::skews(&self.engine.skews(), recorder, names);
        gauges::health(&health, recorder, names);
        gauges::examined(&mut self.engine, now, recorder, names);
        gauges::own(&self.inventory.software(), recorder);
        if self.ticks.is_multiple_of(EXPIRE_TICKS) {
            gauges::keep(&table, &mut self.recorder);
            self.recorder.expire();
        }
        self.publish(now, groups, &table, health);
    }

    fn publish(
        &mut self,
        now: Stamp,
        groups: Vec<GroupStatus>,
        table: &gauges::LagTable,
        health: Vec<TopicHealth>,
    ) {
        let clients = self.inventory.clients();
        let mut topics: BTreeMap<Name, TopicView> = BTreeMap::new();
        for client in &clients {
            for topic in &client.produces {
                let view = view(&mut topics, topic);
                view.producers = view.producers.saturating_add(1);
            }
            for topic in &client.consumes {
                let view = view(&mut topics, topic);
                view.consumers = view.consumers.saturating_add(1);
            }
        }
        for (topic, group) in table.keys() {
            view(&mut topics, topic).groups.push(group.clone());
        }
        for topic in health {
            let view = view(&mut topics, &topic.topic);
            view.coverage_ratio = Some(topic.coverage);
            view.clock_skew_seconds = topic.skew_ms.map(seconds);
        }
        let slis = self.engine.slis();
        let all = slis.iter().filter(|sli| !sli.topic.is_empty());
        let all = all.map(|sli| self.names.label(&sli.topic));
        self.owned.show(all, &mut self.recorder);
        self.snapshots.publish(Snapshot {
            at_ms: now.wall_ms,
            slis,
            groups: group_views(groups, table),
            topics: topics.into_values().collect(),
            lineage: self.graph.edges(),
            traces: self.graph.sightings(),
            clients,
            connections: self.inventory.connections(),
        });
    }
}

fn view<'a>(topics: &'a mut BTreeMap<Name, TopicView>, topic: &Name) -> &'a mut TopicView {
    topics.entry(topic.clone()).or_insert_with(|| TopicView {
        topic: topic.clone(),
        producers: 0,
        consumers: 0,
        groups: Vec::new(),
        coverage_ratio: None,
        clock_skew_seconds: None,
    })
}
