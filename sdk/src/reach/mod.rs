//! Getting to a node: one attempt at a connection that is open for business, and the pauses between attempts. Which addresses
//! there are is [`known`]'s, going round over them [`approach`]'s. Service and client use it; what they do on the connection is
//! theirs.

mod approach;
mod known;
#[cfg(test)]
mod tests;

pub(crate) use approach::Approach;
pub(crate) use known::Known;

use crate::cxip::{Acknowledgement, Ended, Incoming, Message, Password, Refusal, Stream, Wire};
use crate::{over_http, test::Pipe, tls::Tls};
use hansa_core::{
    code::{Code, Fault},
    dice::Dice,
    ident::{AccountName, City, OrganizationName},
    limit,
    moment::Moment,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpStream, time::timeout};

/// No connection is given up earlier: that would be for a mere delay.
const SILENCE_MIN: Duration = Duration::from_millis(300);

/// Where a node listens, and who comes.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// Hosts and ports, or URLs of CXIP over HTTP.
    pub(crate) known: Arc<Known>,
    pub(crate) name: String,
    pub(crate) credentials: Credentials,
    /// The node in memory, instead of one that listens.
    pub(crate) pipe: Option<Pipe>,
}

/// A connection that was let in, and to whom.
pub(crate) type Opened = (Wire<Stream>, Welcome);

/// What shows a node who comes, and how the way to it is secured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) account: Option<AccountName>,
    pub(crate) password: Option<Password>,
    pub(crate) tls: Option<Tls>,
    /// After how long without a sign of life a connection is given up, where that was said.
    pub(crate) silence_max: Option<Duration>,
}

/// Whose node it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// The organization.
    pub organization: Option<OrganizationName>,
    /// Its city.
    pub city: Option<City>,
    /// Where the other sub-node of its pair listens, host and port each (M2).
    pub alternates: Vec<String>,
}

impl Door {
    /// The door of whoever listens at one of the addresses in `addresses`, which have commas between.
    pub(crate) fn at(addresses: &str, name: String, credentials: Credentials, pipe: Option<Pipe>) -> Self {
        Self { known: Arc::new(Known::of(addresses)), name, credentials, pipe }
    }

    /// Connect to one of the addresses and wait until the node says that it is connected. A refusal is the node's own;
    /// everything else is [`Code::NodeStopped`].
    async fn open(&self, address: &str) -> Result<Opened, Refusal> {
        let patience = Duration::from_millis(limit::CXIP_CONNECT_MS_MAX);
        let opened = timeout(patience, self.knock(address)).await;
        opened.unwrap_or_else(|_| Err(self.unanswered(address, "it did not answer in time").into()))
    }

    async fn knock(&self, address: &str) -> Result<Opened, Refusal> {
        let mut wire = Wire::new(self.carrier(address).await?, limit::CXIP_CREDIT);
        let connect = Message::Connect {
            name: self.name.clone(),
            account: self.credentials.account.clone(),
            password: self.credentials.password.clone(),
        };
        let Acknowledgement { organization, city, alternates, .. } =
            settle(&mut wire, &connect, |ended| self.unanswered(address, ended)).await?;
        Ok((wire, Welcome { organization, city, alternates }))
    }

    async fn carrier(&self, address: &str) -> Result<Stream, Fault> {
        if let Some(pipe) = &self.pipe {
            return pipe.connect();
        }
        if over_http::is_url(address) {
            return over_http::carrier(address, self.credentials.tls.as_ref());
        }
        let stream = TcpStream::connect(address).await.map_err(|error| self.unanswered(address, error))?;
        stream.set_nodelay(true).map_err(|error| self.unanswered(address, error))?;
        match &self.credentials.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => tls.secure(address, stream).await,
        }
    }

    pub(crate) fn unanswered(&self, address: &str, why: impl std::fmt::Display) -> Fault {
        Fault::new(Code::NodeStopped, format!("no node answers at {address}: {why}"))
            .help("start the node with `hansa run`, or correct the address")
    }

    /// How soon to ask the node for a sign of life, and when to take it for dead. Where another may have taken over, that is
    /// to be found out quickly; where there is no other, nothing is gained by it.
    fn watchfulness(&self) -> Option<(Duration, Duration)> {
        if let Some(silence_max) = self.credentials.silence_max {
            return Some((silence_max / 3, silence_max));
        }
        let [probe, silence_max] =
            [limit::CXIP_PAIR_PROBE_MS, limit::CXIP_PAIR_SILENCE_MS_MAX].map(Duration::from_millis);
        self.known.are_several().then_some((probe, silence_max))
    }
}

/// Whether a refusal for this reason says nothing about the next attempt.
pub(crate) fn is_passing(code: Code) -> bool {
    matches!(code, Code::NodeStopped | Code::NotActive | Code::Busy)
}

/// Send a message of the opening, before which nothing else can come, and wait for its acknowledgement.
pub(crate) async fn settle(
    wire: &mut Wire<Stream>,
    message: &Message,
    ended: impl Fn(Ended) -> Fault,
) -> Result<Acknowledgement, Refusal> {
    let number = wire.send(0, message)?;
    loop {
        match wire.receive().await.map_err(&ended)? {
            Incoming::Acknowledged { message, acknowledgement } if message == number => return Ok(acknowledgement),
            Incoming::Refused { refusal, .. } => return Err(refusal),
            Incoming::Acknowledged { .. } | Incoming::Unread(_) => (),
            Incoming::Message { number, .. } => {
                let words = "nothing was asked for yet on this connection";
                wire.refuse(number, Fault::new(Code::MessageOutOfOrder, words));
            }
        }
    }
}

/// After so many doublings a pause is as long as it may be while one of a pair takes over.
const TAKEOVER_DOUBLINGS: u32 = (limit::RECONNECT_TAKEOVER_MS_MAX / limit::RECONNECT_MS_MIN).ilog2() + 1;

/// Pauses that double up to a maximum, each cut by chance, so that many who lost the same node do not return at once.
#[derive(Debug)]
pub(crate) struct Pauses {
    attempts: u32,
    dice: Dice,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { attempts: 0, dice: Dice::new(u64::from_ne_bytes(random())) }
    }

    /// It worked; begin small again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next pause: between half of it and all of it. While one of a pair may be taking over, pauses stay short.
    pub(crate) fn next(&mut self, may_take_over: bool) -> Duration {
        let doublings = match self.attempts.checked_sub(limit::RECONNECT_TAKEOVER_PAUSES) {
            None if may_take_over => self.attempts.min(TAKEOVER_DOUBLINGS),
            Some(beyond) if may_take_over => TAKEOVER_DOUBLINGS + 1 + beyond.min(16),
            _ => self.attempts.min(16),
        };
        let whole_max = match self.attempts {
            few if may_take_over && few < limit::RECONNECT_TAKEOVER_PAUSES => limit::RECONNECT_TAKEOVER_MS_MAX,
            _ => limit::RECONNECT_MS_MAX,
        };
        self.attempts = self.attempts.saturating_add(1);
        self.cut((limit::RECONNECT_MS_MIN << doublings).min(whole_max))
    }

    /// Between half of so many milliseconds and all of them.
    pub(crate) fn cut(&mut self, whole_ms: u64) -> Duration {
        Duration::from_millis(whole_ms / 2 + self.dice.below(whole_ms / 2 + 1))
    }
}

/// A time without signs of life after which a connection may be given up.
pub(crate) fn within_reason(silence_max: Duration) -> Duration {
    silence_max.clamp(SILENCE_MIN, Duration::from_millis(limit::CXIP_SILENCE_MS_MAX))
}

/// Random bytes of the operating system.
pub(crate) fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Now, by this machine's clock.
pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(since.as_millis() as u64)
}
