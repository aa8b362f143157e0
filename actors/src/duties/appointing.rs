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
    answer: oneshot::Sender<Asked>,
}

/// Others are to be the witnesses.
pub(super) struct Appointing {
    wanted: Vec<MemberId>,
    pub(super) until: Moment,
    answer: oneshot::Sender<Result<(), Fault>>,
}

impl Desk {
    pub(super) fn ask_witnesses(&mut self, candidates: Vec<SubnodeId>, answer: oneshot::Sender<Asked>) {
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
        match self.pair_refusable(pair::Input::Appoint(wanted.clone()))? {
            Ok(()) => {
                let until = clock::steady().plus_ms(APPOINTING_MS);
                self.appointing = Some(Appointing { wanted, until, answer });
            }
            Err(fault) => drop(answer.send(Err(fault))),
        }
        Ok(())
    }

    /// Tell what became of it, when it is known or nobody waits any longer.
    pub(super) fn tend_witnesses(&mut self, now: Moment) {
        if self.asking.as_ref().is_some_and(|asking| asking.until <= now || asking.unanswered.is_empty())
            && let Some(Asking { unanswered, mut asked, answer, .. }) = self.asking.take()
        {
            asked.declined.extend(unanswered.into_iter().map(|subnode| (subnode, "it did not answer".to_owned())));
            let _ = answer.send(asked);
        }
        let held = self.pair.certified().map(|certified| &certified.configuration.witnesses.members);
        let is_decided = |appointing: &Appointing| held == Some(&appointing.wanted);
        let is_over = |appointing: &Appointing| is_decided(appointing) || appointing.until <= now;
        if let Some(is_decided) = self.appointing.as_ref().filter(|it| is_over(it)).map(is_decided)
            && let Some(Appointing { answer, .. }) = self.appointing.take()
        {
            let _ = answer.send(if is_decided {
                Ok(())
            } else {
                let message = format!("the witnesses have not decided on others within {} s", APPOINTING_MS / 1_000);
                Err(Fault::new(Code::PairNotReady, message).help(
                    "they may still: `hansa pair status` shows who the witnesses are. If nothing changes, ask again when more of them are \
                     connected",
                ))
            });
        }
    }
}
