//! Getting to a node: one attempt at a connection that is open for business, and the pauses between attempts. Service and
//! client use it; what they do on the connection is theirs.

use crate::cxip::{Acknowledgement, Ended, Incoming, Message, Password, Stream, Wire};
use crate::{over_http, test::Pipe, tls::Tls};
use hansa_core::{
    code::{Code, Fault},
    dice::Dice,
    ident::{AccountName, City, OrganizationName},
    limit,
    moment::Moment,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::{net::TcpStream, time::timeout};

/// Where a node listens, and who comes.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// Host and port, or the URL of CXIP over HTTP.
    pub(crate) address: String,
    pub(crate) name: String,
    pub(crate) credentials: Credentials,
    /// The node in memory, instead of one that listens.
    pub(crate) pipe: Option<Pipe>,
}

/// What shows a node who comes, and how the way to it is secured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    pub(crate) account: Option<AccountName>,
    pub(crate) password: Option<Password>,
    pub(crate) tls: Option<Tls>,
}

/// Whose node it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The organization.
    pub organization: Option<OrganizationName>,
    /// Its city.
    pub city: Option<City>,
}

impl Door {
    /// Connect and wait until the node says that it is connected. A refusal is the node's own fault; everything else is
    /// [`Code::NodeStopped`].
    pub(crate) async fn open(&self) -> Result<(Wire<Stream>, Welcome), Fault> {
        let patience = Duration::from_millis(limit::CXIP_CONNECT_MS_MAX);
        timeout(patience, self.knock()).await.unwrap_or_else(|_| Err(self.unanswered("it did not answer in time")))
    }

    async fn knock(&self) -> Result<(Wire<Stream>, Welcome), Fault> {
        let mut wire = Wire::new(self.carrier().await?, limit::CXIP_CREDIT);
        let connect = Message::Connect {
            name: self.name.clone(),
            account: self.credentials.account.clone(),
            password: self.credentials.password.clone(),
        };
        let Acknowledgement { organization, city, .. } =
            settle(&mut wire, &connect, |ended| self.unanswered(ended)).await?;
        Ok((wire, Welcome { organization, city }))
    }

    async fn carrier(&self) -> Result<Stream, Fault> {
        if let Some(pipe) = &self.pipe {
            return pipe.connect();
        }
        if over_http::is_url(&self.address) {
            return over_http::carrier(&self.address, self.credentials.tls.as_ref());
        }
        let stream = TcpStream::connect(&*self.address).await.map_err(|error| self.unanswered(error))?;
        stream.set_nodelay(true).map_err(|error| self.unanswered(error))?;
        match &self.credentials.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => tls.secure(&self.address, stream).await,
        }
    }

    pub(crate) fn unanswered(&self, why: impl std::fmt::Display) -> Fault {
        Fault::new(Code::NodeStopped, format!("no node answers at {}: {why}", self.address))
            .help("start the node with `hansa run`, or correct the address")
    }
}

/// Send a message of the opening, before which nothing else can come, and wait for its acknowledgement.
pub(crate) async fn settle(
    wire: &mut Wire<Stream>,
    message: &Message,
    ended: impl Fn(Ended) -> Fault,
) -> Result<Acknowledgement, Fault> {
    let number = wire.send(0, message)?;
    loop {
        match wire.receive().await.map_err(&ended)? {
            Incoming::Acknowledged { message, acknowledgement } if message == number => return Ok(acknowledgement),
            Incoming::Refused { refusal, .. } => return Err(refusal.fault),
            Incoming::Acknowledged { .. } => (),
            Incoming::Message { number, .. } => {
                let words = "nothing was asked for yet on this connection";
                wire.refuse(number, Fault::new(Code::MessageOutOfOrder, words));
            }
        }
    }
}

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

    /// The next pause: between half of it and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = limit::RECONNECT_MS_MIN << self.attempts.min(16);
        self.attempts = self.attempts.saturating_add(1);
        self.cut(whole.min(limit::RECONNECT_MS_MAX))
    }

    /// Between half of so many milliseconds and all of them.
    pub(crate) fn cut(&mut self, whole_ms: u64) -> Duration {
        Duration::from_millis(whole_ms / 2 + self.dice.below(whole_ms / 2 + 1))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_maximum_and_begin_small_again_after_success() {
        let mut pauses = Pauses::new();
        let all: Vec<_> = (0..40).map(|_| pauses.next().as_millis() as u64).collect();
        assert!(all[0] <= limit::RECONNECT_MS_MIN);
        assert!(all.iter().all(|pause| *pause <= limit::RECONNECT_MS_MAX));
        assert!(all[39] >= limit::RECONNECT_MS_MAX / 2);
        pauses.reset();
        assert!(pauses.next().as_millis() as u64 <= limit::RECONNECT_MS_MIN);
    }
}
