//! What the administrator asks about transactions, and does to them: looking through them, into one, back at what was
//! recorded, and upkeep. [`super::administration`] hands it over; nothing is decided here.

use super::{Machines, views};
use crate::admin::{protocol::*, time::Time};
use hansa_actors::listing::Which;
use hansa_core::{
    code::{Code, Fault},
    dispatch::Input,
    document::Text,
    ident::{DefinitionHash, DefinitionName, OrganizationId, SignalName, TransactionId},
    invocation::Performer,
    limit,
    moment::Moment,
    transaction::{Around, Definition, Definitions, Input as ToTransaction, Instance, Picture, Teller, rehearsal},
};
use std::sync::Arc;

/// How much older or newer the id of a transaction may look than it is: ids are made by the clocks of clients.
const CLOCK_LEEWAY_MS: u64 = 24 * 3_600_000;

impl Machines {
    /// One transaction, awake or put away.
    pub(super) async fn transaction(&self, id: TransactionId) -> Result<Instance, Fault> {
        Ok(self.house()?.trailed(id).await?.machine)
    }

    fn definition_of(&self, machine: &Instance) -> Option<Arc<Definition>> {
        self.housed()?.surroundings().definitions().version(&machine.definition_hash()?).cloned()
    }

    fn picture(&self, id: TransactionId, machine: &Instance) -> Result<Picture, Fault> {
        let picture = self.definition_of(machine).and_then(|definition| machine.picture(&definition));
        picture
            .ok_or_else(|| Fault::new(Code::Internal, format!("the definition that transaction {id} runs is not here")))
    }

    pub(super) async fn transactions_listed(&self, filter: ListFilter) -> Result<TransactionPage, Fault> {
        let count_max = filter.limit.unwrap_or(LIST_DEFAULT) as usize;
        let sought = Sought::new(self, filter)?;
        let mut page = TransactionPage { transactions: Vec::new(), unreadable: Vec::new(), next: None };
        let (mut before, mut looked) = (sought.newest(), 0);
        loop {
            // A list without a filter needs no more than it has; one with a filter goes on in steps.
            let step = count_max.saturating_sub(page.transactions.len()).clamp(16, limit::LIST_STEP);
            let found = self.house()?.transactions_before(before, sought.which(), step).await?;
            looked += found.transactions.len();
            for (id, machine) in found.transactions {
                if sought.is_past(id) {
                    return Ok(page);
                }
                match machine {
                    Ok(machine) => page.transactions.extend(self.entry(id, &machine, &sought)),
                    Err(fault) => {
                        tracing::debug!(transaction = %id, %fault, "a stored transaction is left out of a list");
                        page.unreadable.push(id);
                    }
                }
                if page.transactions.len() >= count_max {
                    page.next = Some(id);
                    return Ok(page);
                }
            }
            before = found.next;
            if before.is_none() || looked >= limit::LIST_LOOKED_MAX {
                page.next = before;
                return Ok(page);
            }
        }
    }

    fn entry(&self, id: TransactionId, machine: &Instance, sought: &Sought) -> Option<TransactionEntry> {
        let filter = &sought.filter;
        let submitted = machine.submitted()?;
        let is_in_time = filter.since.is_none_or(|since| submitted >= since.0)
            && filter.until.is_none_or(|until| submitted < until.0);
        if !is_in_time || filter.definition.as_ref().is_some_and(|name| machine.definition_name() != Some(name)) {
            return None;
        }
        let picture = machine.picture(self.definition_of(machine)?.as_ref())?;
        let entry = views::entry(id, &picture);
        let fits = filter.state.is_none_or(|state| state == entry.state) && sought.fits(&picture);
        fits.then_some(entry)
    }

    pub(super) async fn transaction_shown(&self, id: TransactionId) -> Result<Show, Fault> {
        let machine = self.transaction(id).await?;
        let picture = self.picture(id, &machine)?;
        Ok(views::show(&picture, self.house()?.surroundings().offers()))
    }

    pub(super) async fn history_page(&self, id: TransactionId, after: u64) -> Result<HistoryPage, Fault> {
        let trailed = self.house()?.trailed(id).await?;
        let history = self.house()?.history(id, &trailed, after).await?;
        let surroundings = self.house()?.surroundings();
        let definition = self.definition_of(&trailed.machine);
        let mut teller = Teller::new(definition.as_deref(), surroundings.offers());
        let entries = history.episodes.into_iter().map(|episode| {
            let records = episode.records.iter().map(|record| {
                let words = teller.tell(record);
                let record = serde_json::to_value(record)
                    .map_err(|error| Fault::new(Code::Internal, format!("a record cannot be shown: {error}")))?;
                Ok(HistoryRecord { words, record })
            });
            Ok(HistoryEntry {
                sequence: episode.sequence,
                epoch: episode.epoch,
                moment: episode.moment.into(),
                hash: episode.hash.to_string(),
                previous: episode.previous.to_string(),
                records: records.collect::<Result<_, Fault>>()?,
            })
        });
        let entries = entries.collect::<Result<_, Fault>>()?;
        let (definition, version, state) = self.headline(id, &trailed.machine)?;
        let (beginning_dropped, first_kept, next) = (history.beginning_dropped, history.first_kept, history.next);
        Ok(HistoryPage { id, definition, version, state, entries, beginning_dropped, first_kept, next })
    }

    /// What names a transaction and how far it is.
    fn headline(
        &self,
        id: TransactionId,
        machine: &Instance,
    ) -> Result<(DefinitionName, DefinitionHash, TransactionState), Fault> {
        let picture = self.picture(id, machine)?;
        Ok((picture.definition.clone(), picture.hash, views::state(&picture.state)))
    }

    pub(super) async fn replayed(&self, id: TransactionId) -> Result<Replayed, Fault> {
        let replay = self.house()?.replay(id).await?;
        let (definition, version, state) = self.headline(id, &replay.stored)?;
        let bound = self.definition_of(&replay.stored).ok_or_else(|| {
            Fault::new(Code::Internal, format!("the definition that transaction {id} runs is not here"))
        })?;
        let (entries, first, last) = (replay.entries.len() as u64, replay.first, replay.last);
        let records = replay.entries.iter().map(|(_, records)| records.len() as u64).sum();
        let mut replayed = Replayed {
            id,
            definition,
            version,
            state,
            entries,
            records,
            first,
            last,
            proven: vec![format!(
                "{entries} entries of the journal, from {first} to {last}, each have the hash that the chain demands"
            )],
            difference: replay.difference,
        };
        if replayed.difference.is_some() {
            return Ok(replayed);
        }
        replayed.proven.push(format!("a new machine that takes in these {records} records is the stored transaction"));
        // The definition of a name may be another one by now.
        let definitions = Definitions::of([bound]);
        let around = Around { definitions, ..self.house()?.surroundings().transactions().clone() };
        let all: Vec<_> = replay.entries.into_iter().flat_map(|(_, records)| records).collect();
        let work = tokio::task::spawn_blocking(move || rehearsal::replay(id, &around, &all));
        match work.await {
            Ok(Ok(computed)) => replayed.proven.push(format!(
                "the definition, given what came from outside in the recorded order, decides the same {} records: states, \
                 documents and ending",
                computed.records
            )),
            Ok(Err(difference)) => replayed.difference = Some(difference.to_string()),
            Err(error) => return Err(Fault::new(Code::Internal, format!("the computation ended: {error}"))),
        }
        Ok(replayed)
    }

    pub(super) fn versions_of_definition(&self, name: &DefinitionName) -> Result<Vec<DefinitionVersion>, Fault> {
        let surroundings = self.house()?.surroundings();
        let versions = surroundings.definitions().versions(name);
        if versions.is_empty() {
            return Err(no_definition(name));
        }
        let entries = versions.into_iter().map(|(definition, defined, current)| DefinitionVersion {
            hash: definition.hash,
            defined: defined.into(),
            operations: definition.operations.len() as u64,
            current,
        });
        Ok(entries.collect())
    }

    pub(super) fn source_of_definition(
        &self,
        name: DefinitionName,
        version: Option<DefinitionHash>,
    ) -> Result<DefinitionSource, Fault> {
        let surroundings = self.house()?.surroundings();
        let definitions = surroundings.definitions();
        let current = definitions.named(&name).ok_or_else(|| no_definition(&name))?;
        let definition = match version {
            None => current,
            Some(hash) => definitions.version(&hash).filter(|definition| definition.name == name).ok_or_else(|| {
                Fault::new(Code::DefinitionUnknown, format!("there is no version {hash} of {name} here"))
                    .help(format!("`hansa transaction definitions --versions {name}` lists them"))
            })?,
        };
        Ok(DefinitionSource {
            name,
            hash: definition.hash,
            text: definition.text.as_str().to_owned(),
            libraries: definition.libraries.clone(),
        })
    }

    pub(super) async fn signalled(
        &self,
        transaction: TransactionId,
        signal: SignalName,
        document: String,
    ) -> Result<Signalled, Fault> {
        let document = Text::parse(document.as_bytes())?;
        let name = signal.clone();
        let tracking = self
            .ask(|asker| Input::Transaction(transaction, ToTransaction::Signal { asker, signal: name, document }))
            .await?;
        Ok(Signalled { transaction, signal, repeated: tracking.word.as_deref() == Some("repeated") })
    }

    pub(super) async fn transaction_cancelled(&self, id: TransactionId) -> Result<Cancelled, Fault> {
        self.ask(|asker| Input::Transaction(id, ToTransaction::Cancel { asker })).await?;
        // It may be on its way back first, or gone already if it is not to be kept.
        let state = match self.transaction(id).await {
            Ok(machine) => views::state(&self.picture(id, &machine)?.state),
            Err(_) => TransactionState::Cancelled,
        };
        Ok(Cancelled { transaction: id, state })
    }

    pub(super) async fn recovered(&self, id: TransactionId) -> Result<Recovered, Fault> {
        self.house()?.recover(id).await?;
        let machine = self.transaction(id).await?;
        let shown = views::show(&self.picture(id, &machine)?, self.house()?.surroundings().offers());
        let asked_again = shown.operations.iter().flat_map(|operation| {
            let unanswered = operation.performers.iter().filter(|performer| performer.state == OperationState::Running);
            unanswered.map(move |performer| {
                let service = performer.service.as_ref().map_or("whoever performs it", |service| service.as_str());
                let at = performer.organization_name.as_ref().map(|name| format!(" at {name}")).unwrap_or_default();
                format!("operation {} {}: {service}{at}", operation.id, operation.name)
            })
        });
        Ok(Recovered { transaction: id, state: shown.state, asked_again: asked_again.collect() })
    }

    pub(super) async fn all_recovered(&self, before: Option<TransactionId>) -> Result<RecoveredPart, Fault> {
        let upkeep = self.house()?.recover_all(before).await?;
        Ok(RecoveredPart { recovered: upkeep.done, next: upkeep.next })
    }

    pub(super) async fn ended_purged(&self, before: Time, from: Option<TransactionId>) -> Result<PurgedPart, Fault> {
        let upkeep = self.house()?.purge_ended_before(before.0, from).await?;
        Ok(PurgedPart { purged: upkeep.done, looked: upkeep.looked, next: upkeep.next })
    }
}

fn no_definition(name: &DefinitionName) -> Fault {
    Fault::new(Code::DefinitionUnknown, format!("there is no transaction definition {name} here"))
}

/// What a list looks for.
struct Sought {
    filter: ListFilter,
    /// The organization that was named, and whether it is this node's own.
    organization: Option<(OrganizationId, bool)>,
}

impl Sought {
    fn new(machines: &Machines, filter: ListFilter) -> Result<Self, Fault> {
        let organization = match &filter.organization {
            None => None,
            Some(named) => {
                let surroundings = machines.house()?.surroundings();
                let found = surroundings.offers().organization(named);
                let unknown = || {
                    Fault::new(
                        Code::MemberUnknown,
                        format!("'{named}' is no organization, or several, of the directory"),
                    )
                };
                let found = named.parse().ok().or(found).ok_or_else(unknown)?;
                Some((found, found == machines.own()))
            }
        };
        Ok(Self { filter, organization })
    }

    fn which(&self) -> Which {
        match self.filter.state {
            None => Which::All,
            Some(state) if state.is_ended() => Which::Ended,
            Some(_) => Which::Open,
        }
    }

    /// Where to begin.
    fn newest(&self) -> Option<TransactionId> {
        let until = self.filter.until.map(|until| TransactionId::new(until.0.plus_ms(CLOCK_LEEWAY_MS), [0; 16]));
        match (self.filter.before, until) {
            (Some(before), Some(until)) => Some(before.min(until)),
            (before, until) => before.or(until),
        }
    }

    /// Whether all from here on are older than what is looked for.
    fn is_past(&self, id: TransactionId) -> bool {
        self.filter
            .since
            .is_some_and(|since| id < TransactionId::new(Moment(since.0.0.saturating_sub(CLOCK_LEEWAY_MS)), [0; 16]))
    }

    fn fits(&self, picture: &Picture) -> bool {
        let filter = &self.filter;
        let at_organization = self.organization.is_none_or(|(organization, own)| {
            let asked = |performer: &Performer| match performer {
                Performer::Local(_) | Performer::Transaction(_) => own,
                Performer::Peer { organization: peer, .. } => *peer == organization,
            };
            picture
                .operations
                .iter()
                .flat_map(|operation| &operation.legs)
                .any(|leg| leg.performer.as_ref().is_some_and(asked))
        });
        let has_operation = (filter.operation.is_none() && filter.operation_state.is_none())
            || picture.operations.iter().any(|operation| {
                filter.operation.as_ref().is_none_or(|name| operation.name == *name)
                    && filter.operation_state.is_none_or(|state| views::operation_state(&operation.state) == state)
            });
        at_organization && has_operation && filter.text.as_ref().is_none_or(|text| has_text(picture, text))
    }
}

fn has_text(picture: &Picture, text: &str) -> bool {
    let has = |document: &Text| document.as_str().contains(text);
    has(&picture.input)
        || picture.output.as_ref().is_some_and(has)
        || picture
            .operations
            .iter()
            .any(|operation| operation.input.as_ref().is_some_and(has) || operation.output.as_ref().is_some_and(has))
}
