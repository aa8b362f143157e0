//! A client at work: one task that keeps a connection to the node and carries what the [`Ledger`] has open.

use super::ledger::{Ask, Ledger};
use crate::{
    cxip::{Ended, Incoming, Message, Refusal, Stream, Wire},
    reach::{Approach, Door, Welcome},
};
use hansa_core::code::{Code, Fault};
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

/// Asks that are taken from the channel at once, and at most wait in the ledger before more are taken.
const BATCH_MAX: usize = 256;

/// What the task owns.
pub(super) struct Attachment {
    approach: Approach,
    asks: mpsc::Receiver<Ask>,
    connected: watch::Sender<bool>,
    ledger: Ledger,
}

/// Why there is no connection any more.
enum Over {
    /// Nobody has a handle any more.
    Released,
    Lost(Ended),
    Refused(Refusal),
}

impl Attachment {
    /// Connect, no longer than for `patience`, and go on in the background.
    pub(super) async fn begin(
        door: Door,
        asks: mpsc::Receiver<Ask>,
        connected: watch::Sender<bool>,
        patience: Duration,
    ) -> Result<Welcome, Fault> {
        let mut approach = Approach::new(door);
        let (wire, welcome) = approach.first(Instant::now() + patience).await?;
        let attachment = Self { approach, asks, connected, ledger: Ledger::default() };
        tokio::spawn(attachment.run(wire));
        Ok(welcome)
    }

    async fn run(mut self, mut wire: Wire<Stream>) {
        loop {
            self.connected.send_replace(true);
            let over = self.serve(wire).await;
            self.connected.send_replace(false);
            match over {
                Over::Released => return,
                Over::Lost(ended) => {
                    tracing::warn!(node = %self.approach.node(), %ended, "connection lost");
                    self.approach.lost(&ended);
                }
                Over::Refused(refusal) => {
                    tracing::warn!(node = %self.approach.node(), fault = %refusal.fault, "connection refused");
                    self.approach.refused(&refusal);
                }
            }
            wire = loop {
                sleep(self.approach.pause()).await;
                if self.asks.is_closed() {
                    return;
                }
                match self.approach.round(false).await {
                    Ok((wire, _)) => break wire,
                    Err(fault) if fault.code == Code::AccessDenied => {
                        tracing::warn!(node = %self.approach.node(), %fault, "the node lets the client in no more");
                        self.refuse_all(&fault);
                    }
                    Err(fault) => tracing::debug!(%fault, "not connected"),
                }
            };
        }
    }

    /// Nobody shall wait for what will not come.
    fn refuse_all(&mut self, fault: &Fault) {
        self.ledger.fail_all(fault);
        while let Ok(ask) = self.asks.try_recv() {
            ask.fail(fault.clone());
        }
    }

    /// Carry what is open over one connection until it is over.
    async fn serve(&mut self, mut wire: Wire<Stream>) -> Over {
        self.ledger.reconnected();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let over = loop {
            while wire.may_send() {
                let Some((id, message)) = self.ledger.next() else { break };
                match wire.send(0, &message) {
                    Ok(number) => self.ledger.sent(id, number),
                    Err(fault) => self.ledger.unsendable(id, fault),
                }
            }
            let due = self.ledger.due();
            tokio::select! {
                taken = self.asks.recv_many(&mut batch, BATCH_MAX), if self.ledger.ready() < BATCH_MAX => {
                    if taken == 0 {
                        break Over::Released;
                    }
                    batch.drain(..).for_each(|ask| self.ledger.add(ask));
                }
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    self.ledger.resume_postponed();
                }
                incoming = wire.receive() => {
                    let mut taken = incoming.map(Some).map_err(Over::Lost);
                    while let Ok(Some(incoming)) = taken {
                        taken = self
                            .take_in(&mut wire, incoming)
                            .and_then(|()| wire.received().map_err(Over::Lost));
                    }
                    if let Err(over) = taken {
                        break over;
                    }
                }
            }
        };
        wire.finish().await;
        over
    }

    fn take_in(&mut self, wire: &mut Wire<Stream>, incoming: Incoming) -> Result<(), Over> {
        match incoming {
            Incoming::Acknowledged { message, acknowledgement } => {
                self.approach.succeeded();
                self.ledger.acknowledged(message, acknowledgement.tracking);
            }
            Incoming::Refused { message: 0, refusal } => return Err(Over::Refused(refusal)),
            // It serves no more: this is to be asked of the other sub-node, and so is everything that it has not answered.
            Incoming::Refused { refusal, .. } if refusal.fault.code == Code::NotActive => {
                return Err(Over::Refused(refusal));
            }
            Incoming::Refused { message, refusal } => {
                let approach = &mut self.approach;
                // Longer than asked for, by chance: not everybody shall come back at once.
                self.ledger.refused(message, refusal, |pause_ms| approach.cut(pause_ms * 2));
            }
            Incoming::Unread(_) => (),
            Incoming::Message { number, correlation, message } => {
                let fits = match message {
                    Message::Response(response) => self.ledger.responded(correlation, response),
                    Message::Status(status) => self.ledger.told(correlation, status),
                    _ => {
                        let fault = Fault::new(Code::MessageOutOfOrder, "a client is sent replies, and nothing else");
                        wire.refuse(number, fault);
                        return Ok(());
                    }
                };
                if !fits {
                    tracing::debug!(node = %self.approach.node(), number, correlation, "a reply that nobody waits for");
                }
                wire.acknowledge(number, Default::default());
            }
        }
        Ok(())
    }
}
