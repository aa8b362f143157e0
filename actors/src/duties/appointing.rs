//! The witnesses of this sub-node's own pair: members are asked whether they will be some, and take the place of others. Called by
//! [`super::desk`] when the operator wants that; who may be a witness, and from when on others decide, the pair machine decides.

use super::{Asked, desk::Desk};
use crate::clock;
use hansa_core::{
    code::{Code, Fault},
    ident::SubnodeId,
    mirror::{MemberId, pair},
    moment::Moment,
};
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// How long members are asked to be witnesses.
const ASKING_MS: u64 = 3_000;
/// How long those that there are may take to decide on others until the operator hears that they have not yet.
const APPOINTING_MS: u64 = 10_000;

/// Members are being asked to be witnesses.
pub(super) struct Asking {
    pub(super) unanswered: BTreeSet<SubnodeId>,
    pub(super) asked: Asked,
    pub(super) until: Moment,
    answer: oneshot::Sender<Result<Asked, Fault>>,
}

/// Others are to be the witnesses.
pub(super) struct Appointing {
    wanted: Vec<MemberId>,
    /// The epoch in which it was asked for.
    epoch: u64,
    pub(super) until: Moment,
    answer: oneshot::Sender<Result<(), Fault>>,
}

impl Desk {
    pub(super) fn ask_witnesses(&mut self, candidates: Vec<SubnodeId>, answer: oneshot::Sender<Result<Asked, Fault>>) {
        if self.asking.is_some() {
            let message = "members are being asked to be witnesses just now";
            drop(answer.send(Err(Fault::new(Code::PairNotReady, message).help("ask again in a moment"))));
            return;
        }
        for candidate in &candidates {
            self.carrier.tell(*candidate, &super::Word::Ask);
        }
        let until = clock::steady().plus_ms(ASKING_MS);
        let unanswered = candidates.into_iter().collect();
        self.asking = Some(Asking { unanswered, asked: Asked::default(), until, answer });
    }

    pub(super) fn appoint(
        &mut self,
        wanted: Vec<MemberId>,
        answer: oneshot::Sender<Result<(), Fault>>,
    ) -> Result<(), Fault> {
        if self.is_single() || self.is_retired() || self.is_out() {
            let fault = Fault::new(Code::PairNotReady, "this node is of no pair, so it has no witnesses");
            drop(answer.send(Err(fault.help("`hansa pair init` begins a pair"))));
            return Ok(());
        }
        if self.appointing.is_some() {
            let fault = Fault::new(Code::PairNotReady, "other witnesses are being appointed just now");
            drop(
                answer.send(Err(
                    fault.help("wait until that is decided; `hansa pair status` shows who the witnesses are")
                )),
            );
            return Ok(());
        }
        let epoch = self.epoch();
        match self.pair_refusable(pair::Input::Appoint(wanted.clone()))? {
            Ok(()) => {
                let until = clock::steady().plus_ms(APPOINTING_MS);
                self.appointing = Some(Appointing { wanted, epoch, until, answer });
            }
            Err(fault) => drop(answer.send(Err(fault))),
        }
        Ok(())
    }

    /// Tell what became of it, when it is known or nobody waits any longer.
    pub(super) fn tend_witnesses(&mut self, now: Moment) -> Result<(), Fault> {
        if self.asking.as_ref().is_some_and(|asking| asking.until <= now || asking.unanswered.is_empty())
            && let Some(Asking { unanswered, mut asked, answer, .. }) = self.asking.take()
        {
            asked.declined.extend(unanswered.into_iter().map(|subnode| (subnode, "it did not answer".to_owned())));
            let _ = answer.send(Ok(asked));
        }
        let epoch = self.epoch();
        let held = self.pair.certified().map(|certified| certified.configuration.witnesses.members.clone());
        let is_over = |it: &Appointing| held.as_ref() == Some(&it.wanted) || it.epoch != epoch || it.until <= now;
        if let Some(Appointing { wanted, epoch: before, answer, .. }) = self.appointing.take_if(|it| is_over(it)) {
            let held = held.unwrap_or_default();
            let not_ready = |message: &str| Fault::new(Code::PairNotReady, message);
            let _ = answer.send(if held == wanted {
                Ok(())
            } else if epoch != before {
                Err(not_ready("something else was decided meanwhile, and the witnesses are as they were").help("ask again"))
            } else {
                // Later nobody would expect it, and who agreed now may not be there then.
                if let Err(fault) = self.pair_refusable(pair::Input::Appoint(held))? {
                    tracing::warn!(%fault, "what was asked of the witnesses is not taken back");
                }
                Err(not_ready("the witnesses have not decided on others in time, and are asked no more").help(
                    "ask again when more of them are there: one that has a new disk is connected and does not count. If enough had \
                     accepted it already it still holds; `hansa pair status` shows who the witnesses are",
                ))
            });
        }
        Ok(())
    }
}
