//! Requests that were sent and not answered yet, in order; what the two directions of a connection share.
//!
//! Kafka answers in request order on a connection, so this is a FIFO. Must not do IO.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::Notify, time::Instant};

use super::{
    facts::RequestFacts,
    inject::{Edit, repair::Repair},
};
use crate::{
    event::Name,
    kafka::wire::{api::ApiKey, policy::Policy},
};

/// One request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) policy: Policy,
    pub(crate) client: Name,
    pub(crate) sent: Instant,
    pub(crate) facts: RequestFacts,
    pub(crate) after: After,
}

/// What is to be done with the answer beyond reading it.
#[derive(Debug, Default)]
pub(crate) enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// The request was held for an edit: its answer teaches.
    Edited(Box<Edit>),
    /// The request is a second attempt of ours.
    Again(Box<Repair>),
}

impl After {
    /// Nothing may be sent behind the request until it is answered.
    pub(crate) fn is_guarded(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Edited(edit) => edit.is_guarded(),
            Self::Again(_) => true,
        }
    }
}

/// A request of ours that the direction to the broker is to send.
#[derive(Debug)]
pub(crate) struct Resend {
    pub(crate) frame: Vec<u8>,
    pub(crate) pending: Box<Pending>,
}

/// What the next bytes from the broker answer.
#[derive(Debug)]
pub(crate) enum Expected {
    /// A request.
    Answer(Box<Pending>),
    /// A token of the raw SASL exchange that follows SaslHandshake v0: no Kafka header on either side.
    RawToken,
    /// Nothing comes from the broker: we answer ourselves.
    Ours(Vec<u8>),
}

/// How a raw SASL exchange goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RawSasl {
    /// This many tokens are still to come from the client.
    Tokens(u8),
    /// Until something that can be a Kafka request arrives (GSSAPI).
    UntilRequest,
}

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<Expected>,
    raw_sasl: Option<RawSasl>,
    mechanism: Option<&'static str>,
    claimed: Option<Name>,
    given_member: Option<Name>,
    resend: Option<Resend>,
}

/// Shared by the two directions of one connection.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    inner: Mutex<Inner>,
    tunnel: AtomicBool,
    /// The last request sent is guarded: nothing may follow it before its answer.
    closed: AtomicBool,
    /// No answer will come any more.
    ended: AtomicBool,
    /// Something of our own waits in the queue, or a tunnel begins. Both directions are polled by one task, in an order
    /// that lets the responses see this at once.
    news: AtomicBool,
    /// An answer has gone out: there is room again.
    pub(crate) changed_room: Notify,
}

impl InFlight {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, expected: Expected) {
        let ours = matches!(expected, Expected::Ours(_));
        if let Expected::Answer(pending) = &expected
            && pending.after.is_guarded()
            && !self.ended.load(Ordering::Acquire)
        {
            self.closed.store(true, Ordering::Release);
        }
        self.lock().queue.push_back(expected);
        if ours {
            self.news.store(true, Ordering::Release);
        }
    }

    pub(crate) fn pop(&self) -> Option<Expected> {
        self.lock().queue.pop_front()
    }

    /// Takes our own answer where it is next.
    pub(crate) fn pop_ours(&self) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        if !matches!(inner.queue.front(), Some(Expected::Ours(_))) {
            return None;
        }
        match inner.queue.pop_front() {
            Some(Expected::Ours(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Whether nothing may be sent now, but what [`Self::take_resend`] gives.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What was guarded has been answered for good.
    pub(crate) fn open(&self) {
        if self.is_closed() && self.lock().resend.is_none() {
            self.closed.store(false, Ordering::Release);
            self.changed_room.notify_one();
        }
    }

    /// No answer will come any more, or none can be matched: nothing waits for one from now on.
    pub(crate) fn give_up(&self) {
        self.ended.store(true, Ordering::Release);
        self.closed.store(false, Ordering::Release);
        self.changed_room.notify_one();
    }

    /// Asks the direction to the broker to send this, which is closed and waits.
    pub(crate) fn resend(&self, resend: Resend) {
        self.lock().resend = Some(resend);
        self.changed_room.notify_one();
    }

    pub(crate) fn take_resend(&self) -> Option<Resend> {
        self.lock().resend.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Everything that will never be answered.
    pub(crate) fn drain(&self) -> Vec<Pending> {
        let mut inner = self.lock();
        let queue = std::mem::take(&mut inner.queue);
        let resend = inner.resend.take().map(|resend| resend.pending);
        let answers = queue.into_iter().filter_map(|expected| match expected {
            Expected::Answer(pending) => Some(pending),
            Expected::RawToken | Expected::Ours(_) => None,
        });
        // What was sent again is the client's request still.
        let of_client = |pending: Box<Pending>| match pending.after {
            After::Again(repair) => repair.client,
            _ => *pending,
        };
        resend.into_iter().chain(answers).map(of_client).collect()
    }

    /// The SASL mechanism that the broker agreed to.
    pub(crate) fn agree_mechanism(&self, mechanism: &'static str) {
        let mut inner = self.lock();
        inner.mechanism = Some(mechanism);
        inner.claimed = None;
    }

    /// The name that the client claims in this exchange; a step that tells none leaves what one before it told.
    pub(crate) fn claim(&self, name: Option<&Name>) -> Option<Name> {
        let mut inner = self.lock();
        if let Some(name) = name {
            inner.claimed = Some(Name::clone(name));
        }
        inner.claimed.clone()
    }

    /// The SASL mechanism agreed on last; `None` before a handshake.
    pub(crate) fn mechanism(&self) -> Option<&'static str> {
        self.lock().mechanism
    }

    /// The coordinator gave this member id and asked to join again with it (KIP-394).
    pub(crate) fn give_member(&self, member: Name) {
        self.lock().given_member = Some(member);
    }

    /// Whether a join under this member id is the member's first: without an id, or with the one just given.
    pub(crate) fn is_first_join(&self, member: &Name) -> bool {
        let mut inner = self.lock();
        let given = inner.given_member.take_if(|given| given == member);
        member.is_empty() || given.is_some()
    }

    pub(crate) fn begin_raw_sasl(&self, raw: RawSasl) {
        self.lock().raw_sasl = Some(raw);
    }

    /// Whether the frame that begins with `peek` is a raw token; counts it.
    pub(crate) fn is_raw_token(&self, plausible_request: bool) -> bool {
        let mut inner = self.lock();
        match inner.raw_sasl {
            None => false,
            Some(RawSasl::Tokens(0)) => {
                inner.raw_sasl = None;
                false
            }
            Some(RawSasl::Tokens(left)) => {
                inner.raw_sasl = Some(RawSasl::Tokens(left.saturating_sub(1)));
                true
            }
            Some(RawSasl::UntilRequest) => {
                if plausible_request {
                    inner.raw_sasl = None;
                }
                !plausible_request
            }
        }
    }

    /// From now on both directions pass unread.
    pub(crate) fn begin_tunnel(&self) {
        self.tunnel.store(true, Ordering::Release);
        self.give_up();
        self.news.store(true, Ordering::Release);
    }

    /// Whether the responses have something to look at beside the broker's bytes.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// The responses are about to look.
    pub(crate) fn clear_news(&self) {
        if self.has_news() {
            self.news.store(false, Ordering::Release);
        }
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Acquire)
    }
}
