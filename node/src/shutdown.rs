//! When the node shall stop: on SIGTERM, on SIGINT, or because somebody asked over the administration socket. A second
//! signal ends the process at once; the journal makes that safe, only less polite.

use std::io;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Exit code of a process that a second signal ended.
const EXIT_AT_ONCE: i32 = 130;

/// A wish to stop that everybody sees. Clones are one.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// Nobody wishes to stop yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Wish to stop.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Wait for that wish.
    pub async fn triggered(&self) {
        // The sender is our own, so the wait ends only with the wish.
        let _ = self.0.subscribe().wait_for(|&triggered| triggered).await;
    }

    /// From now on, let signals trigger it, and the second one end the process.
    ///
    /// # Errors
    /// If the system lets us not listen to signals.
    pub fn on_signals(&self) -> io::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let shutdown = self.clone();
        tokio::spawn(async move {
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping; a second signal ends the process at once");
            shutdown.trigger();
            let name = next(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "ending at once");
            std::process::exit(EXIT_AT_ONCE);
        });
        Ok(())
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_sees_the_wish_to_stop_whether_they_waited_before_or_ask_later() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.triggered().await }
        });
        shutdown.trigger();
        waiting.await.unwrap();
        shutdown.triggered().await;
    }
}
