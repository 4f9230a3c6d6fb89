//! Starts the services, and leads them through producing, draining, holding and closing.
//!
//! Here because the figures can only be compared at rest: every member must have committed and still be a member, since a
//! sidecar forgets the lag of a group that left. Must not know what is shown.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::Instant};

use super::{
    plan::Plan,
    services::{Checkout, Kind, Member},
    topology::{ORDERS, SERVICES, ServiceAddresses},
};
use crate::kafka::cluster::{ClusterError, Consumer, Producer};

/// What the services do now; only ever moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Orders are published and consumed.
    Running,
    /// No new orders; members work until nothing comes any more.
    Draining,
    /// Nobody works; all have committed and stay connected.
    Held,
    /// Clients close.
    Closed,
}

/// How far the services are, for each other.
#[derive(Debug)]
pub(super) struct Board {
    joined: watch::Sender<usize>,
    held: watch::Sender<usize>,
    began: watch::Sender<Option<Instant>>,
}

impl Board {
    fn new() -> Self {
        Self {
            joined: watch::Sender::new(0),
            held: watch::Sender::new(0),
            began: watch::Sender::new(None),
        }
    }

    pub(super) fn join(&self) {
        self.joined
            .send_modify(|count| *count = count.saturating_add(1));
    }

    pub(super) fn hold(&self) {
        self.held
            .send_modify(|count| *count = count.saturating_add(1));
    }

    pub(super) fn begin(&self) {
        self.began.send_replace(Some(Instant::now()));
    }

    pub(super) async fn all_joined(&self, members: usize) {
        let mut joined = self.joined.subscribe();
        joined
            .wait_for(|count| *count >= members)
            .await
            .map(drop)
            .ok();
    }

    /// Time since the first order.
    pub(super) fn since(&self) -> Duration {
        self.began
            .borrow()
            .map_or(Duration::ZERO, |at| at.elapsed())
    }
}

/// The running services.
#[derive(Debug)]
pub(super) struct Pipeline {
    phase: watch::Sender<Phase>,
    board: Arc<Board>,
    tasks: JoinSet<Result<(), ClusterError>>,
}

impl Pipeline {
    /// Starts every service with its own sidecar's address.
    pub(super) fn start(services: &[ServiceAddresses], plan: Plan) -> Result<Self, ClusterError> {
        let (phase, board) = (watch::Sender::new(Phase::Running), Arc::new(Board::new()));
        let mut tasks = JoinSet::new();
        for service in services {
            let producer = Producer::connect(&service.bootstrap, &service.name)?;
            let (board, phase) = (Arc::clone(&board), phase.subscribe());
            let Some(kind) = Kind::ALL.into_iter().find(|k| k.name() == service.name) else {
                tasks.spawn(
                    Checkout {
                        producer,
                        plan,
                        board,
                        phase,
                    }
                    .run(),
                );
                continue;
            };
            let (bootstrap, name) = (&service.bootstrap, kind.name());
            let consumer = Consumer::subscribe(bootstrap, name, name, &[ORDERS.name])?;
            let member = Member {
                kind,
                consumer,
                producer,
                plan,
                board,
                phase,
            };
            tasks.spawn(member.run());
        }
        Ok(Self {
            phase,
            board,
            tasks,
        })
    }

    /// What is going on, in a few words for people.
    pub(super) fn doing(&self) -> &'static str {
        match *self.phase.borrow() {
            Phase::Running if self.began().is_none() => "groups join",
            Phase::Running => "running",
            Phase::Draining => "no new orders, groups drain",
            Phase::Held | Phase::Closed => "at rest",
        }
    }

    /// When the first order went out.
    pub(super) fn began(&self) -> Option<Instant> {
        *self.board.began.borrow()
    }

    /// No new orders from now on.
    pub(super) fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Nobody works from now on.
    pub(super) fn hold(&self) {
        self.advance(Phase::Held);
    }

    /// Resolves once every service is at rest.
    pub(super) async fn at_rest(&self) {
        let mut held = self.board.held.subscribe();
        held.wait_for(|count| *count >= SERVICES.len())
            .await
            .map(drop)
            .ok();
    }

    /// Closes every client and waits for that.
    pub(super) async fn close(mut self) {
        self.advance(Phase::Closed);
        while let Some(done) = self.tasks.join_next().await {
            match done {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => tracing::warn!(%fault, "a service did not close cleanly"),
                Err(fault) => tracing::warn!(%fault, "a service ended"),
            }
        }
    }

    fn advance(&self, to: Phase) {
        self.phase.send_modify(|phase| *phase = to.max(*phase));
    }
}
