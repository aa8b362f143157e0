//! How a sub-node that stops leaves its pair: how long it is worth to wait for the other one. The node's end asks; it decides nothing
//! about who serves.

use super::{Duties, Status};
use hansa_core::{
    code::{Code, Fault},
    mirror::pair::State,
};
use std::time::Duration;

/// How often it is looked whether the other sub-node is still there.
const LOOK: Duration = Duration::from_millis(50);

impl Duties {
    /// Let the other sub-node serve, if this one is active and has a mirror, and wait for that, so long at most. It is given up at once when
    /// the other one is gone, or goes meanwhile because it stops as well; and when too few witnesses are there to decide.
    /// Says whether it serves now; not if there was none that could.
    ///
    /// # Errors
    /// [`Code::PairNotReady`]: it does not serve, and why.
    pub async fn hand_over(&self, wait_max: Duration) -> Result<bool, Fault> {
        let status = self.status().await?;
        if status.state != State::ActivePair {
            return Ok(false);
        }
        if let Some(why) = hopeless(&status) {
            return Err(not_ready(why));
        }
        tokio::select! {
            switched = tokio::time::timeout(wait_max, self.switch()) => match switched {
                Ok(switched) => switched.map(|()| true),
                Err(_) => Err(not_ready("it did not take over in time")),
            },
            why = self.until(hopeless) => Err(not_ready(why)),
        }
    }

    /// Resolves when it is in vain to wait until everything in the log counts: the other sub-node would have to have it, and is gone.
    pub async fn waits_in_vain(&self) {
        self.until(|status| {
            let waits = status.committed < status.tail && status.state != State::ActiveSolo;
            is_alone(status).filter(|_| waits)
        })
        .await;
    }

    async fn until(&self, is_so: impl Fn(&Status) -> Option<&'static str>) -> &'static str {
        loop {
            match self.status().await {
                Ok(status) => match is_so(&status) {
                    Some(why) => return why,
                    None => tokio::time::sleep(LOOK).await,
                },
                Err(_) => return "the duties of this sub-node have ended",
            }
        }
    }
}

fn is_alone(status: &Status) -> Option<&'static str> {
    let is_alone = !status.partner.as_ref().is_some_and(|partner| partner.linked);
    is_alone.then_some("it is not there")
}

fn hopeless(status: &Status) -> Option<&'static str> {
    let witnesses = status.witnesses.iter().filter(|(_, linked)| *linked).count() as u64;
    let undecided = (witnesses < status.witnesses_needed).then_some("too few witnesses are there to decide on it");
    is_alone(status).or(undecided)
}

fn not_ready(why: &str) -> Fault {
    Fault::new(Code::PairNotReady, format!("the other sub-node does not serve in the place of this one: {why}"))
}
