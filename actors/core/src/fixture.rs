//! What the tests of all machines share: a machine with its clock and dice, which checks on every step that replaying
//! its journaled records makes the same machine (DESIGN invariant 2). Knows no room.

use crate::{
    code::{Code, Fault},
    dice::Dice,
    document::{Element, Text},
    ident::{InvocationId, LibraryHash, OrganizationId, TransactionId},
    invocation::{Context, Invocation, Target},
    machine::{Machine, feed},
    moment::Moment,
    offer::Service,
    session::{Asker, SessionId},
    transaction::{Library, Load, Signature, Value},
};
use rust_decimal::Decimal;
use std::sync::Arc;

/// The organization number `number`.
pub fn organization(number: u8) -> OrganizationId {
    OrganizationId([number; 32])
}

/// A document.
pub fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).unwrap()
}

/// Message `message` of session `session`.
pub fn asker(session: u64, message: u64) -> Asker {
    Asker { session: SessionId(session), message }
}

/// A public service.
pub fn service(name: &str, operations: &[&str]) -> Service {
    Service {
        name: name.parse().unwrap(),
        operations: operations.iter().map(|operation| operation.parse().unwrap()).collect(),
        public: true,
    }
}

/// An invocation of `operation` (OPID `number`) in transaction 7 of organization `by`, with the id that is its own.
pub fn invocation(by: u8, operation: &str, number: u32) -> Invocation {
    Invocation {
        id: InvocationId::new(&organization(by), TransactionId(7), number, 0, 1),
        context: Context {
            organization: organization(by),
            transaction: TransactionId(7),
            definition: "purchase".parse().unwrap(),
            operation: number,
            attempt: 1,
            priority: 0,
            hops: 0,
        },
        target: Target { operation: operation.parse().unwrap(), service: None },
        document: text("<Order/>"),
        deadline: None,
    }
}

/// CBOR, as the journal has it.
pub fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

/// A machine under test.
pub struct Fed<M: Machine> {
    pub machine: M,
    pub around: M::Around,
    pub now: Moment,
    pub dice: Dice,
    /// How many times the machine decided.
    pub decisions: usize,
    /// Every journaled record so far, encoded.
    pub journal: Vec<Vec<u8>>,
    key: M::Key,
    /// The machine that the journaled records make; none where the comparison would cost too much.
    replica: Option<M>,
}

/// What came of an input: all records and all effects, in order.
#[derive(Debug)]
pub struct Came<M: Machine> {
    pub records: Vec<M::Record>,
    pub effects: Vec<M::Effect>,
}

impl<M: Machine> Fed<M> {
    pub fn new(key: M::Key, around: M::Around) -> Self {
        Self {
            machine: M::new(&key),
            around,
            now: Moment(1_000_000),
            dice: Dice::new(1),
            decisions: 0,
            journal: Vec::new(),
            replica: Some(M::new(&key)),
            key,
        }
    }

    /// The same without a comparison after every step.
    pub fn uncompared(mut self) -> Self {
        self.replica = None;
        self
    }

    /// Give an input that the machine takes.
    #[track_caller]
    pub fn give(&mut self, input: M::Input) -> Came<M> {
        self.try_give(input).unwrap()
    }

    /// Give an input that the machine refuses.
    #[track_caller]
    pub fn refused(&mut self, input: M::Input) -> Fault {
        let before = encoded(&self.machine);
        let fault = self.try_give(input).expect_err("the machine should have refused");
        assert_eq!(before, encoded(&self.machine), "a refusal changes nothing");
        fault
    }

    pub fn try_give(&mut self, input: M::Input) -> Result<Came<M>, Fault> {
        let mut came = Came { records: Vec::new(), effects: Vec::new() };
        feed(&mut self.machine, &self.around, self.now, &mut self.dice, input, |records, effects| {
            self.decisions += 1;
            for record in records.iter().filter(|record| M::is_journaled(record)) {
                let bytes = encoded(record);
                let read: M::Record = ciborium::from_reader(&bytes[..]).unwrap();
                assert_eq!(&read, record, "a record comes back from the journal as it was");
                if let Some(replica) = &mut self.replica {
                    replica.absorb(&read);
                }
                self.journal.push(bytes);
            }
            came.records.extend(records);
            came.effects.extend(effects);
        })?;
        if let Some(replica) = &self.replica {
            assert_eq!(encoded(replica), encoded(&self.machine), "replay makes the same machine");
        }
        Ok(came)
    }

    /// Let time go on by `milliseconds`, and tell the machine when it wants to be told.
    pub fn pass(&mut self, milliseconds: u64) -> Came<M> {
        let until = self.now.plus_ms(milliseconds);
        let mut came = Came { records: Vec::new(), effects: Vec::new() };
        while let Some(wake) = self.machine.wakes_at().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            let more = self.give(M::due());
            came.records.extend(more.records);
            came.effects.extend(more.effects);
            assert_ne!(self.machine.wakes_at(), Some(wake), "a timer that has rung does not ring again");
        }
        self.now = until;
        came
    }

    /// The process ends with only the first `durable` journaled records on disk, and starts again.
    pub fn restart_with(&mut self, durable: usize) -> Came<M> {
        self.journal.truncate(durable);
        self.machine = M::new(&self.key);
        for bytes in &self.journal {
            let record: M::Record = ciborium::from_reader(&bytes[..]).unwrap();
            self.machine.absorb(&record);
        }
        self.replica = self.replica.is_some().then(|| self.machine.clone());
        if self.machine.is_open() { self.give(M::resumed()) } else { Came { records: Vec::new(), effects: Vec::new() } }
    }

    /// The process ends with everything on disk, in a snapshot, and starts again.
    pub fn restart(&mut self) -> Came<M> {
        self.machine = ciborium::from_reader(&encoded(&self.machine)[..]).unwrap();
        self.give(M::resumed())
    }
}

/// A loader of pretended libraries, whose bytes are the signatures of their functions.
#[derive(Debug)]
pub struct Shop;

#[derive(Debug)]
struct Shelf(Vec<Signature>, LibraryHash);

impl Load for Shop {
    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Library>, Fault> {
        let text = std::str::from_utf8(bytes).unwrap();
        let signatures: Result<Vec<Signature>, String> = text.split_whitespace().map(str::parse).collect();
        let signatures = signatures.map_err(|why| Fault::new(Code::LibraryInvalid, why))?;
        Ok(Arc::new(Shelf(signatures, LibraryHash(*blake3::hash(bytes).as_bytes()))))
    }
}

impl Library for Shelf {
    fn hash(&self) -> LibraryHash {
        self.1
    }

    fn functions(&self) -> &[Signature] {
        &self.0
    }

    fn call(&self, function: usize, arguments: &[Value], fuel: &mut u64) -> Result<Value, String> {
        *fuel = fuel.checked_sub(100_000_000).ok_or("no fuel is left")?;
        match (self.0[function].name.as_str(), arguments) {
            ("twice", [Value::Number(number)]) if number.is_sign_negative() => Err("it is negative".to_owned()),
            ("twice", [Value::Number(number)]) => Ok(Value::Number(*number + *number)),
            ("shipping_cost", [Value::Number(kilograms), Value::Text(zone)]) => match zone.as_str() {
                "EU" => Ok(Value::Number(Decimal::new(750, 2) + Decimal::new(85, 2) * *kilograms)),
                zone => Err(format!("nothing is sent to zone '{zone}'")),
            },
            ("label", [Value::Text(text)]) => Ok(Value::Document(vec![Element::new("label").with_text(text)])),
            _ => Ok(Value::Text("a lie".to_owned())),
        }
    }
}
