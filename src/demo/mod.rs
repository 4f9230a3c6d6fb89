//! The demo: a small order pipeline of real clients, each behind a sidecar of its own, and what the sidecars say of it.
//!
//! Here so that somebody who has never seen Kafka can see this program work within a minute, and so that CI can hold its
//! figures against the cluster. `app` starts the sidecars and calls [`run`]. Must not import `app`, must not reach into a
//! sidecar but over its two listeners, and the plan of the pipeline must never be an input to a displayed figure: these come
//! from `/metrics` and `/api/v1/groups` of the sidecars, and from a client that goes past them.

mod figures;
mod ledger;
mod page;
mod pipeline;
mod plan;
mod services;
mod summary;
mod topology;
mod view;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    pin::pin,
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::{
    figures::{History, Scrape},
    ledger::Ledger,
    page::{Key, Reported},
    pipeline::Pipeline,
    plan::Plan,
    summary::Evidence,
    view::Screen,
};
use crate::kafka::cluster::{ClusterError, Direct, Embedded, TopicsError, ensure};

pub use summary::Summary;
pub use topology::{SERVICES, ServiceAddresses, TOPICS};

/// Brokers of the embedded cluster.
const BROKERS: i32 = 3;
const REFRESH: Duration = Duration::from_secs(1);
/// Part of `--duration` that is kept for draining and comparing; at most 40 % of it.
const RESERVE: Duration = Duration::from_secs(7);
/// Orders are published for at least this long, however short the duration.
const PRODUCE_MIN: Duration = Duration::from_secs(3);
/// Members that are not done after this long are stopped where they are; what is left is lag.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// How long a cluster may take to know its new topics.
const FIRST_READING_LIMIT: Duration = Duration::from_secs(30);
/// Equal readings in a row that make the figures stand still.
const SETTLED: u32 = 3;
/// Longest wait for the sidecars' figures to stand still.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When to stop; `None` = when told to.
    pub duration: Option<Duration>,
    /// Redraw in place: the writer is a terminal.
    pub live: bool,
    /// Use colour.
    pub color: bool,
    /// Decides everything that looks like chance.
    pub seed: u64,
}

/// Why the demo could not be run.
#[derive(Debug)]
pub enum DemoError {
    /// The cluster or a client of it failed.
    Cluster(ClusterError),
    /// The cluster's topics cannot be used.
    Topics(TopicsError),
    /// A service was given no sidecar.
    NoSidecar(&'static str),
    /// The output could not be written.
    Output(io::Error),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(fault) => fault.fmt(f),
            Self::Topics(fault) => fault.fmt(f),
            Self::NoSidecar(service) => write!(f, "no sidecar for service {service}"),
            Self::Output(fault) => write!(f, "cannot write the view: {fault}"),
        }
    }
}

impl std::error::Error for DemoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cluster(fault) => Some(fault),
            Self::Topics(fault) => Some(fault),
            Self::Output(fault) => Some(fault),
            Self::NoSidecar(_) => None,
        }
    }
}

impl From<ClusterError> for DemoError {
    fn from(fault: ClusterError) -> Self {
        Self::Cluster(fault)
    }
}

impl From<io::Error> for DemoError {
    fn from(fault: io::Error) -> Self {
        Self::Output(fault)
    }
}

/// Starts the embedded cluster with the pipeline's topics. Blocks for some milliseconds; keep it until [`run`] returned.
///
/// # Errors
/// No port or thread could be had.
pub fn embed() -> Result<Embedded, DemoError> {
    Ok(Embedded::start(BROKERS, &TOPICS)?)
}

/// Makes the user's cluster ready: creates the topics that are missing, and writes what it created and how to remove it.
///
/// # Errors
/// The cluster cannot be reached; a topic is there with another partition count; the broker refuses to create one.
pub async fn prepare(bootstrap: &str, out: &mut dyn Write) -> Result<(), DemoError> {
    let created = ensure(bootstrap, &TOPICS)
        .await
        .map_err(DemoError::Topics)?;
    if created.is_empty() {
        writeln!(
            out,
            "the pipeline's topics are there already and are used as they are"
        )?;
    } else {
        writeln!(out, "created topics: {}", created.join(", "))?;
        writeln!(out, "to remove them, and the groups, afterwards:")?;
        for topic in created {
            writeln!(
                out,
                "  kafka-topics.sh --bootstrap-server {bootstrap} --delete --topic {topic}"
            )?;
        }
        let groups = topology::GROUPS
            .map(|group| format!(" --group {group}"))
            .concat();
        writeln!(
            out,
            "  kafka-consumer-groups.sh --bootstrap-server {bootstrap} --delete{groups}"
        )?;
    }
    Ok(())
}

/// Runs the pipeline through its sidecars, shows it, and compares. `direct` are the brokers' own addresses; `stop` ends the
/// run early (Ctrl-C) with the same summary.
///
/// # Errors
/// A service has no sidecar, the cluster does not answer, or the output cannot be written. Figures that do not fit are no
/// error but [`Summary::consistent`] = false.
pub async fn run(
    services: &[ServiceAddresses],
    direct: &str,
    options: Options,
    stop: impl Future<Output = ()>,
    out: &mut dyn Write,
) -> Result<Summary, DemoError> {
    for service in SERVICES {
        if !services.iter().any(|given| given.name == service) {
            return Err(DemoError::NoSidecar(service));
        }
    }
    let direct = Direct::new(direct);
    let before = first_reading(&direct).await?;
    banner(services, out)?;
    let pipeline = Pipeline::start(services, Plan::new(options.seed))?;
    let mut show = Show {
        services,
        history: History::default(),
        screen: Screen::new(options.live, options.color),
        started: Instant::now(),
    };
    let rested = async {
        tokio::select! {
            () = stop => {}
            () = time_is_up(&pipeline, show.started, options.duration) => {}
            shown = show.keep(|| pipeline.doing(), out) => shown?,
        }
        pipeline.drain();
        tokio::select! {
            () = pipeline.at_rest() => {}
            () = sleep(DRAIN_LIMIT) => {}
            shown = show.keep(|| pipeline.doing(), out) => shown?,
        }
        pipeline.hold();
        pipeline.at_rest().await;
        let (metrics, groups) = settled(services).await;
        let after = Ledger::read(&direct).await?;
        show.last(metrics.clone(), out)?;
        Ok::<_, DemoError>((metrics, groups, after))
    };
    let rested = rested.await;
    // Also where nobody reads any more: clients must be gone before the cluster is.
    pipeline.close().await;
    let (metrics, groups, after) = rested?;
    let evidence = Evidence {
        before: &before,
        after: &after,
        groups: &groups,
        metrics: &metrics,
    };
    Ok(summary::write(out, show.screen, &evidence)?)
}

/// The ledger before anything has happened. Tried again for a while: brokers hear of new topics at different times.
async fn first_reading(direct: &Direct) -> Result<Ledger, DemoError> {
    let deadline = Instant::now() + FIRST_READING_LIMIT;
    loop {
        match Ledger::read(direct).await {
            Err(_) if Instant::now() < deadline => sleep(REFRESH).await,
            read => return Ok(read?),
        }
    }
}

fn banner(services: &[ServiceAddresses], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "consoles, one per sidecar:")?;
    for service in services {
        writeln!(out, "  {:<12}http://{}/", service.name, service.admin)?;
    }
    writeln!(
        out,
        "offsets are committed every second; Ctrl-C ends with a summary"
    )?;
    writeln!(out)?;
    out.flush()
}

/// Resolves when orders should cease; never where no duration is set.
async fn time_is_up(pipeline: &Pipeline, started: Instant, duration: Option<Duration>) {
    let Some(duration) = duration else {
        return std::future::pending().await;
    };
    let reserve = RESERVE.min(duration.mul_f64(0.4));
    tokio::time::sleep_until(started + duration.saturating_sub(reserve)).await;
    loop {
        let began = pipeline.began();
        if began.is_some_and(|at| at.elapsed() >= PRODUCE_MIN) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The live view and what it needs.
struct Show<'a> {
    services: &'a [ServiceAddresses],
    history: History,
    screen: Screen,
    started: Instant,
}

impl Show<'_> {
    /// Shows the figures every second, until dropped or the output fails.
    async fn keep(
        &mut self,
        doing: impl Fn() -> &'static str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let scrape = Scrape::read(self.services).await;
            self.add(scrape, doing(), out)?;
        }
    }

    /// Shows the figures of the summary's own scrape.
    fn last(&mut self, scrape: Scrape, out: &mut dyn Write) -> io::Result<()> {
        self.add(scrape, "at rest", out)
    }

    fn add(&mut self, scrape: Scrape, what: &str, out: &mut dyn Write) -> io::Result<()> {
        self.history.add(scrape);
        match self.history.figures() {
            Some(figures) => self
                .screen
                .show(out, self.started.elapsed(), what, &figures),
            None => Ok(()),
        }
    }
}

/// What the sidecars say once [`SETTLED`] readings in a row, a second apart, are the same: when the clients are at rest
/// already, an answer may still be in a sidecar's queue, and its pages may be a second old.
async fn settled(services: &[ServiceAddresses]) -> (Scrape, BTreeMap<Key, Reported>) {
    let mut deadline = pin!(sleep(SETTLE_LIMIT));
    let mut last = reading(services).await;
    let mut alike: u32 = 1;
    while alike < SETTLED {
        tokio::select! {
            () = &mut deadline => break,
            () = sleep(REFRESH) => {}
        }
        let next = reading(services).await;
        let same = next.1 == last.1 && counts(&next.0) == counts(&last.0);
        alike = if same { alike.saturating_add(1) } else { 1 };
        last = next;
    }
    last
}

async fn reading(services: &[ServiceAddresses]) -> (Scrape, BTreeMap<Key, Reported>) {
    let mut all = BTreeMap::new();
    let mut scrape = Scrape::read(services).await;
    for service in services {
        match page::get(service.admin, "/api/v1/groups").await {
            Ok(text) => match page::groups(&text) {
                Ok(groups) => all.extend(groups),
                Err(fault) => scrape
                    .silent
                    .push(format!("{} groups: {fault}", service.name)),
            },
            Err(fault) => scrape
                .silent
                .push(format!("{} groups: {fault}", service.name)),
        }
    }
    (scrape, all)
}

fn counts(scrape: &Scrape) -> Vec<Option<f64>> {
    TOPICS
        .iter()
        .map(|topic| scrape.acknowledged(topic.name))
        .collect()
}
