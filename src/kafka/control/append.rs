//! Appends records to one topic, for trails of our own.
//!
//! One partition for as long as its leader takes them, then another: an order within a trail is kept where nothing fails, and
//! one connection is enough. A batch whose answer was lost is sent again, so it may stand there twice, but is not lost as long
//! as any leader takes it in time. Must not create the topic, hold records, or go on for ever.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use super::{
    super::dial::HostPort,
    ProbeError,
    access::Access,
    lane::{BrokerLane, OwnRecord, UNKNOWN_TOPIC, error_name, may_retry},
};

/// Time for one dial, one login and one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long one batch is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Between two attempts: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// MESSAGE_TOO_LARGE.
const TOO_LARGE: i16 = 10;
/// RECORD_LIST_TOO_LARGE.
const LIST_TOO_LARGE: i16 = 18;

/// Why records were not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendError {
    /// We may not write to the topic.
    NoRights,
    /// Our login was refused.
    Login(String),
    /// The batch is larger than the topic allows.
    TooLarge,
    /// A broker refused for good.
    Refused(&'static str),
    /// Nobody took it in time; the last reason.
    InVain(String),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRights => f.write_str("it needs WRITE on the topic"),
            Self::TooLarge => f.write_str("larger than the topic allows"),
            Self::Refused(error) => write!(f, "refused: {error}"),
            Self::Login(why) | Self::InVain(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for AppendError {}

/// A partition and where its leader is.
type Target = (i32, HostPort);

/// Appends to one topic.
#[derive(Debug)]
pub struct TopicAppender {
    bootstrap: Vec<HostPort>,
    access: Access,
    topic: String,
    targets: Vec<Target>,
    brokers: Vec<HostPort>,
    turn: usize,
    lane: Option<BrokerLane>,
}

impl TopicAppender {
    /// Connects to nothing yet. `turn` says which partition comes first, so that not all programs write to the same.
    #[must_use]
    pub fn new(bootstrap: Vec<HostPort>, access: Access, topic: String, turn: usize) -> Self {
        Self {
            bootstrap,
            access,
            topic,
            targets: Vec::new(),
            brokers: Vec::new(),
            turn,
            lane: None,
        }
    }

    /// Appends `records` as one batch with `acks=all`, and tries for 30 s.
    ///
    /// # Errors
    /// Where they were not appended, as far as is known.
    pub async fn append(
        &mut self,
        records: &[OwnRecord],
        created_ms: i64,
    ) -> Result<(), AppendError> {
        let give_up = Instant::now() + GIVE_UP_AFTER;
        let mut pause = PAUSE_MIN;
        loop {
            let why = match self.attempt(records, created_ms).await {
                Err(AppendError::InVain(why)) => why,
                done => return done,
            };
            self.targets.clear();
            self.turn = self.turn.wrapping_add(1);
            if Instant::now() + pause >= give_up {
                return Err(AppendError::InVain(why));
            }
            tracing::debug!(topic = self.topic, why, "not appended; trying again");
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&mut self, records: &[OwnRecord], created_ms: i64) -> Result<(), AppendError> {
        if self.targets.is_empty() {
            self.look().await?;
        }
        let place = self.turn.checked_rem(self.targets.len());
        let target = place.and_then(|place| self.targets.get(place)).cloned();
        let Some((partition, address)) = target else {
            return Err(in_vain("no partition of it has a leader now"));
        };
        let same = |lane: &BrokerLane| *lane.address() == address;
        let mut lane = match self.lane.take().filter(same) {
            Some(lane) => lane,
            None => BrokerLane::new(address, self.access.clone(), TIMEOUT),
        };
        let batches = [(partition, records.to_vec())];
        let answer = lane.produce(&self.topic, &batches, created_ms).await;
        let answer = answer.map_err(|fault| failure(lane.address(), &fault))?;
        self.lane = Some(lane);
        match answer.first() {
            Some((_, Ok(_))) => Ok(()),
            Some((_, Err(code))) => Err(refusal(*code)),
            None => Err(in_vain("the broker's answer is empty")),
        }
    }

    /// Asks who leads what.
    async fn look(&mut self) -> Result<(), AppendError> {
        let mut last = in_vain("no broker is named; set kafka.bootstrap");
        let known = self.brokers.iter().chain(&self.bootstrap);
        for address in known.cloned().collect::<Vec<_>>() {
            let mut lane = BrokerLane::new(address, self.access.clone(), TIMEOUT);
            let told = match lane.topic(&self.topic).await {
                Ok(told) => told,
                Err(fault) => {
                    last = failure(lane.address(), &fault);
                    if matches!(last, AppendError::Login(_)) {
                        break;
                    }
                    continue;
                }
            };
            let layout = match told.topic {
                Ok(layout) => layout,
                Err(UNKNOWN_TOPIC) => return Err(in_vain("there is no such topic: create it")),
                Err(code) => return Err(refusal(code)),
            };
            if layout.may_write == Some(false) {
                return Err(AppendError::NoRights);
            }
            let place = |node: i32| told.brokers.iter().find(|(of, _)| *of == node);
            let led = layout.partitions.iter();
            let led = led.filter_map(|p| Some((p.partition, place(p.leader?)?.1.clone())));
            self.targets = led.collect();
            self.brokers = told.brokers.into_iter().map(|(_, at)| at).collect();
            return Ok(());
        }
        Err(last)
    }
}

fn in_vain(why: &str) -> AppendError {
    AppendError::InVain(why.to_owned())
}

fn failure(address: &HostPort, fault: &ProbeError) -> AppendError {
    let why = format!("broker {address}: {fault}");
    if fault.is_refused_login() {
        AppendError::Login(why)
    } else {
        AppendError::InVain(why)
    }
}

fn refusal(code: i16) -> AppendError {
    match code {
        29..=31 => AppendError::NoRights,
        TOO_LARGE | LIST_TOO_LARGE => AppendError::TooLarge,
        code if may_retry(code) => in_vain(error_name(code)),
        code => AppendError::Refused(error_name(code)),
    }
}
