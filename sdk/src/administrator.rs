//! An administrator of a node over CXIP (T14): asks at its administration port, one thing after the other. What can be
//! asked and what is answered is JSON, and the node's business; here it is text. The command line of `hansa` uses it, and
//! whoever writes a tool for operators.

use crate::{
    cxip::{Incoming, Message, Stream, Wire},
    reach::{Approach, Door, Welcome},
};
use hansa_core::{
    code::{Code, Fault},
    limit,
};

/// A connection to a node's administration port: [`crate::Client::named`], then [`crate::Connecting::administer`].
#[derive(Debug)]
pub struct Administrator {
    approach: Approach,
    wire: Wire<Stream>,
    welcome: Welcome,
}

impl Administrator {
    pub(crate) async fn open(door: Door) -> Result<Self, Fault> {
        let mut approach = Approach::new(door);
        let (wire, welcome) = approach.round(true).await?;
        Ok(Self { approach, wire, welcome })
    }

    /// Whose node it is.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Ask with this JSON, and wait for the answer's. Dropped before, the node may have done what was asked all the same,
    /// and the connection is of no use any more.
    ///
    /// # Errors
    /// The node refuses it, and did nothing; or [`Code::NodeStopped`]: it went away before it answered.
    pub async fn ask(&mut self, request: &str) -> Result<String, Fault> {
        let asked = self.wire.send(0, &Message::Administer { request: request.to_owned() })?;
        let mut whole = String::new();
        loop {
            let incoming = self.wire.receive().await.map_err(|ended| {
                Fault::new(
                    Code::NodeStopped,
                    format!("the node at {} went away before it answered: {ended}", self.approach.node()),
                )
            })?;
            match incoming {
                Incoming::Message { number, correlation, message: Message::Administered { answer, more } }
                    if correlation == asked =>
                {
                    self.wire.acknowledge(number, crate::cxip::Acknowledgement::default());
                    if whole.len() + answer.len() > limit::ADMIN_ANSWER_BYTES_MAX {
                        let message = format!("the answer has more than {} bytes", limit::ADMIN_ANSWER_BYTES_MAX);
                        return Err(Fault::new(Code::MessageTooLarge, message));
                    }
                    whole.push_str(&answer);
                    if !more {
                        return Ok(whole);
                    }
                }
                Incoming::Refused { message, refusal } if message == asked || message == 0 => return Err(refusal.fault),
                Incoming::Acknowledged { .. } | Incoming::Refused { .. } | Incoming::Unread(_) => (),
                // Of a question that was given up, or nothing that was asked for.
                Incoming::Message { number, .. } => {
                    self.wire.refuse(number, Fault::new(Code::MessageOutOfOrder, "this was not asked for"));
                }
            }
        }
    }
}
