//! Stable error codes, and the fault that carries one to a person: what is wrong, where, and what to do.
//!
//! A code never changes its meaning; `docs/errors/` has a page for each, and `hansa explain CODE` prints it.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The table of codes: name, text form, meaning, and what its reader can do.
macro_rules! codes {
    ($($name:ident $text:literal $meaning:literal $advice:literal;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $meaning] #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The text form, as in messages, records and `docs/errors/`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$name => $meaning,)* }
            }

            /// What whoever meets it can do.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Code::$name => $advice,)* }
            }
        }
    };
}

codes! {
    IdentityMalformed "identity-malformed"
        "A text that should be the id of an organization, a node, a transaction or an invocation is none."
        "Copy the id whole, as the command that lists such things prints it.";
    NameMalformed "name-malformed"
        "A name of a service, an operation, a definition, an organization or a city has characters or a length that names cannot have."
        "Choose a name within the limits that the message states.";

    DocumentMalformed "document-malformed"
        "An XML document is not well formed."
        "Mend the document at the line and column that the message names, and send it again.";
    DocumentEncoding "document-encoding"
        "A document is not valid UTF-8, or declares another encoding."
        "Send documents in UTF-8; convert others first, for example with iconv.";
    DocumentDoctype "document-doctype"
        "A document has a DOCTYPE, which is refused because of the attacks that it allows."
        "Remove the DOCTYPE; no entity but the five that XML predefines may be used.";
    DocumentTooLarge "document-too-large"
        "A document has more bytes than the limit."
        "Send less at once, or split the document.";
    DocumentTooDeep "document-too-deep"
        "A document nests its elements deeper than the limit."
        "Flatten the document; business documents rarely nest deeper than thirty.";
    DocumentTooComplex "document-too-complex"
        "A document has more nodes, attributes or namespaces than the limit."
        "Send less at once, or split the document.";

    DefinitionInvalid "definition-invalid"
        "A transaction definition is XML, but not a definition: an element is missing, unknown, repeated or has a value that it cannot have."
        "Compare with docs/transactions.md at the line and column that the message names.";
    DefinitionDuplicate "definition-duplicate"
        "Two operations of a definition have the same OPID or NAME, or something else that may be there once is there twice."
        "Give every operation an OPID and a NAME of its own; hx:PERFORMS says what services sign up for where that differs.";
    DefinitionCombination "definition-combination"
        "Two elements of an operation exclude each other."
        "Keep one of the two; the message says why they cannot go together.";
    DefinitionLink "definition-link"
        "A link or a SPLIT target of a definition leads to an operation that is not there, or is not a link of its operation."
        "Correct the OPID, or add the missing OPLINK.";
    DefinitionCycle "definition-cycle"
        "The links of a definition run in a circle, or the definition runs itself; a transaction must go forward from head to tail."
        "Remove one of the links of the circle that the message shows.";
    DefinitionUnreachable "definition-unreachable"
        "An operation of a definition cannot be reached from CXtsHeadOp, or cannot reach CXtsTailOp."
        "Link it into the graph, or remove it.";
    DefinitionReserved "definition-reserved"
        "CXtsHeadOp must be the first operation of a definition, CXtsTailOp the last, each once, and neither is performed by a service."
        "Order the operations so, and give the two reserved names to no other.";
    DefinitionContradiction "definition-contradiction"
        "Something in a definition can never be: a statement that is never true, an operation that is never performed, or a document that is never there where it is used."
        "Correct one of the conditions that the message names; it holds for every transaction, whatever its documents say.";
    DefinitionVariable "definition-variable"
        "An expression uses a variable of an operation that has not ended when the expression is evaluated."
        "Refer only to operations that come before.";
    DefinitionType "definition-type"
        "An expression combines values of types that do not fit, or uses an unknown operator or function."
        "Correct the VALTYPE, the operator or its operands.";
    DefinitionUnknown "definition-unknown"
        "There is no transaction definition of this name here."
        "List the definitions with `hansa transaction definitions`, or define it with `hansa transaction define FILE`.";

    LibraryUnknown "library-unknown"
        "There is no library of functions of this name here."
        "See the names with `hansa library list`; add it with `hansa library add NAME FILE.wasm`.";
    LibraryInvalid "library-invalid"
        "A file is no library of functions: it is no WebAssembly module, asks for imports, does not export what a library must, or has too much of something."
        "Build it as docs/functions.md describes; `hansa library show` says what a library has.";

    ExpressionFailed "expression-failed"
        "An expression could not be evaluated on the documents of this transaction."
        "Look at the documents with `hansa transaction show ID`; the message names the operation and the variable.";
    JoinFailed "join-failed"
        "The request of an operation could not be built, because a mandatory argument has no value."
        "Make the argument optional, or make sure that the operation it comes from supplies it.";

    TransactionUnknown "transaction-unknown"
        "There is no transaction with this id here."
        "List transactions with `hansa transaction list`; finished ones are kept for the configured time only.";
    TransactionEnded "transaction-ended"
        "The transaction has already ended, so it cannot be changed any more."
        "Look at it with `hansa transaction show ID`; submit a new one if needed.";
    TransactionConflict "transaction-conflict"
        "A transaction with this id exists already with another definition or another input."
        "Let every submission have a new id; repeat an id only with the same content.";
    PublicationConflict "publication-conflict"
        "A publication with this id was made to the topic before, with another document."
        "Let every publication have a new id; repeat an id only with the same document.";
    TopicUnknown "topic-unknown"
        "There is no topic of this name here: nobody is subscribed to it."
        "List the topics with `hansa topic list`; a topic is there as soon as somebody subscribes to it.";
    TransactionTimedOut "transaction-timed-out"
        "The transaction did not end within the TIMEOUT of its definition."
        "Look at which operation was slow with `hansa transaction show ID`; raise TIMEOUT if the work needs longer.";
    TransactionCancelled "transaction-cancelled"
        "The transaction was cancelled."
        "Nothing is needed; submit a new one to try again.";
    TransactionOpen "transaction-open"
        "The transaction has not ended, so it cannot be purged."
        "Wait for its end, or cancel it with `hansa transaction cancel ID`.";
    TransactionNeeded "transaction-needed"
        "The transaction is a sub-transaction, and the one that it belongs to has not recorded its end yet, so it cannot be purged."
        "Purge it when the transaction that it belongs to has gone on.";
    HistoryIncomplete "history-incomplete"
        "The journal no longer has all records of the transaction: its oldest segments were dropped to keep within journal.keep_mib."
        "Raise journal.keep_mib if histories must reach back further; `hansa transaction history ID` shows what is left.";
    ReplayDiffers "replay-differs"
        "A transaction that was made anew from the journal is not the one that is stored."
        "Keep a copy of the data folder, and report this with the difference that the message names.";
    SignalUnknown "signal-unknown"
        "A signal was sent to a transaction none of whose operations waits for a signal of this name."
        "Correct the name; `hansa transaction show ID` lists the operations and the signals that they wait for.";
    SignalConflict "signal-conflict"
        "A signal was sent to a transaction that has had this signal already, with another document."
        "Each signal counts once; the document that came first stays.";
    CompensationFailed "compensation-failed"
        "A transaction that did not complete could not be undone whole: the compensation of an operation failed for good."
        "The help of the fault names what was not undone; mend it by hand, and see `hansa transaction show ID` for the documents.";
    SubtransactionTooDeep "subtransaction-too-deep"
        "Transactions run each other as operations deeper than the limit, or in a circle."
        "Look at which definitions name each other in hx:TRANSACTION.";
    IterationTooLong "iteration-too-long"
        "The document of an iteration has more lines than the hx:MAX of the operation."
        "Raise hx:MAX, or divide the document.";
    OperationFailed "operation-failed"
        "A service answered that it could not perform the operation."
        "The message has the service's own words; ask whoever runs the service.";
    OperationTimedOut "operation-timed-out"
        "No answer to an operation came within its TIMEOUT."
        "See with `hansa service list` whether the service is connected; raise TIMEOUT if the work needs longer.";
    BroadcastTooFew "broadcast-too-few"
        "Fewer of a broadcast's recipients answered as required than its RESPONSE MIN asks for."
        "See with `hansa directory --operation NAME` who offers it, or lower MIN.";
    NoPerformer "no-performer"
        "Nobody performs this operation: no service here and no member of the federation has signed up for it."
        "Start a service that signs up for it, or see with `hansa directory` what is offered under which name.";
    ResponseRefused "response-refused"
        "An answer came for an invocation that is not waiting for one: it was answered before, timed out, was cancelled, or never existed."
        "Nothing is needed; the first answer counts. A service may forget this invocation.";

    ServiceUnknown "service-unknown"
        "No service of this name is registered here."
        "See the names with `hansa service list`.";
    ServiceConflict "service-conflict"
        "The service cannot be registered so: the name is reserved or has reached its limit of connections."
        "Choose another name, or end connections that are not needed.";
    Busy "busy"
        "The node has as much work as it admits; nothing of this request was done."
        "Try again after the time that the answer names; the SDK does so by itself.";
    LimitReached "limit-reached"
        "A maximum of the node is reached; nothing of this request was done."
        "The message names the limit; end or purge what is not needed.";

    MessageMalformed "message-malformed"
        "A message on a CXIP connection does not follow the protocol."
        "Compare with docs/protocols/cxip.md; the message names the field. The connection is closed where framing is lost.";
    MessageTooLarge "message-too-large"
        "A CXIP message announces more content than the limit."
        "Send less at once.";
    MessageIncomplete "message-incomplete"
        "A CXIP message was begun in fragments, and the rest of it did not come in time."
        "Send the fragments of a message without long pauses; others may travel between them. Send the message again.";
    MessageOutOfOrder "message-out-of-order"
        "A CXIP message is right in itself but not here: for instance a request before the connection was opened."
        "Open the connection with CXtsConnect first; see docs/protocols/cxip.md.";
    MessageUnsupported "message-unsupported"
        "A CXIP message has a content that this version of the protocol does not know."
        "Use the messages that docs/protocols/cxip.md describes; the connection goes on.";
    CreditExceeded "credit-exceeded"
        "More messages were sent without waiting for their acknowledgement than the node granted."
        "Keep at most as many messages unacknowledged as the credit says.";
    TlsFailed "tls-failed"
        "No secure connection could be made: a certificate, a key or the other side's TLS is not as it should be."
        "Check the certificates, the authority and the names on both sides; docs/operating.md shows how they are made.";
    AccountUnknown "account-unknown"
        "There is no account of this name on this node."
        "See the names with `hansa access list`; add one with `hansa access add`.";
    AccessDenied "access-denied"
        "The name and password or token do not open this service."
        "Check the configured credentials on both sides.";

    InviteMalformed "invite-malformed"
        "The text is not a whole and untouched invite."
        "Copy the invite again, in one line, from the `hansa invite` that printed it.";
    InviteExpired "invite-expired"
        "The invite is too old, or was used already."
        "Ask the member for a new one: `hansa invite`.";
    InviteForeign "invite-foreign"
        "The invite leads to another federation than the one this node belongs to."
        "A node belongs to one federation; use another data directory for another federation.";
    MemberUnknown "member-unknown"
        "An organization that is not a member of this federation was named or tried to connect."
        "Invite it with `hansa invite`, or correct the name.";
    CertificateForged "certificate-forged"
        "A peer showed a certificate that its organization did not sign, or that is for another node or federation."
        "Nothing was accepted from it. If the peer is known, ask its operator whether its keys were replaced.";
    RecordForged "record-forged"
        "A directory record has no valid signature of its organization."
        "Nothing was accepted. The message names the peer that passed it on.";
    PairForged "pair-forged"
        "A message about a mirrored pair proves nothing: its seals, its sender or its order are wrong."
        "Nothing was accepted. If both sub-nodes are yours, see with `hansa pair status` whether one of them was replaced.";
    PairNotReady "pair-not-ready"
        "What was asked of a mirrored pair cannot be done in the state that it is in."
        "See with `hansa pair status` who is active and whether the mirror has caught up.";
    PairingMalformed "pairing-malformed"
        "The text is not a whole and untouched pairing code."
        "Copy the code again, in one line, from the `hansa pair init` that printed it.";
    PairingExpired "pairing-expired"
        "The pairing code is too old, was used already, or another one was made after it."
        "Make a new one at the active sub-node: `hansa pair init`.";
    WitnessUnknown "witness-unknown"
        "A witness of a mirrored pair has lost its memory, or was never agreed on."
        "It serves the pair again once the pair's operator has appointed it anew (`hansa pair appoint`); the pair goes on with the others.";
    FrameRefused "frame-refused"
        "A forwarded frame was refused: its signature, its order or its content is wrong."
        "Nothing was accepted. The message names the peer.";
    TermsDiffer "terms-differ"
        "Two members speak with different terms of the federation, for example another protocol version."
        "Bring both nodes to versions that go together.";
    PeerUnreachable "peer-unreachable"
        "A member cannot be reached at any of its addresses."
        "What is meant for it waits and goes out when it returns. Check its addresses and your firewall with `hansa doctor`.";

    ConfigurationInvalid "configuration-invalid"
        "The configuration has values that cannot be."
        "Every fault is listed with its key and what fits; `hansa config` shows the whole configuration in force.";
    DataMissing "data-missing"
        "The data directory holds no organization yet."
        "Run `hansa init --organization NAME --city CITY` first.";
    DataExists "data-exists"
        "The data directory holds an organization already."
        "Choose another directory with --data, or start the one that is there with `hansa run`.";
    DataInUse "data-in-use"
        "Another process uses this data directory."
        "Stop it first, or choose another directory with --data.";
    DataForeign "data-foreign"
        "The data directory belongs to another organization than the one that was named."
        "Choose the right directory with --data.";
    DataNewer "data-newer"
        "The data directory was written by a newer version of hansa."
        "Install that version or a newer one; an older one would damage what it does not know.";
    DataOlder "data-older"
        "The data directory was written by an older version of hansa, in a layout that this version does not read."
        "Nothing was changed. Go on with the older version, or start with a new data directory and submit again what is still to be done.";
    DataPermissions "data-permissions"
        "A private key can be read by others."
        "Run `chmod 600` on the file that the message names, and consider replacing the key.";
    JournalBroken "journal-broken"
        "The journal's chain of hashes does not fit: the disk lost or changed what was written."
        "Do not delete anything. Restore the data directory from a backup or from the mirror, and check the disk.";
    JournalFailed "journal-failed"
        "Writing to the journal failed, so the process ended: going on could lose what was acknowledged."
        "Check the disk's health and space, then start again; everything acknowledged is there.";
    StoreFailed "store-failed"
        "The look-up store beside the journal cannot be read or written."
        "Check the disk's health and start the node again: a damaged store is moved aside, never deleted, and made anew from the journal as far back as the journal reaches; if it does not reach back far enough, restore the store from a backup.";
    DiskFull "disk-full"
        "The disk that holds the data directory has no room; new work is refused until it has."
        "Make room on the disk that the message names; the node goes on by itself.";
    PortInUse "port-in-use"
        "Another process listens on a port that the configuration names."
        "Stop the other process, or choose another port in the configuration.";
    NodeStopped "node-stopped"
        "No node answers in this data directory."
        "Start it with `hansa run`, or name the right directory with --data.";
    NotActive "node-not-active"
        "This sub-node follows, or is just starting; the one that serves for the organization is elsewhere."
        "Go to the address that the message names; `hansa pair status` says which sub-node is active.";
    VersionUnknown "version-unknown"
        "The other side speaks a version of the protocol that this side does not know."
        "Bring both sides to versions that go together.";
    TestnetFailed "testnet-failed"
        "A testnet, its demo or a benchmark did not go as it must."
        "The message says what happened; the nodes' logs are named there if they have more to say.";
    Internal "internal"
        "The node met a state that should not exist; what was asked for was not done."
        "Please report it with the message and the log around it.";
}

impl Code {
    /// Why it matters, where that is not plain from its meaning: what would happen if a definition with such a fault ran.
    #[must_use]
    pub const fn why(self) -> Option<&'static str> {
        Some(match self {
            Self::DocumentMalformed => "Where the text is not well formed, nothing behind that place can be read.",
            Self::DocumentEncoding => "Characters that are read as others would change what the document says.",
            Self::DocumentDoctype => {
                "A DOCTYPE can make a small text grow without bound, and can reach for files and addresses."
            }
            Self::DocumentTooLarge => {
                "Nothing of it was read: whatever is larger could fill the memory of whoever reads it."
            }
            Self::DocumentTooDeep => "Reading it would need more room on the stack the deeper it nests.",
            Self::DocumentTooComplex => "Reading it would take more time and memory than its size lets expect.",
            Self::LibraryUnknown => {
                "Nobody could compute what the function returns, and every transaction that comes to it would fail."
            }
            Self::LibraryInvalid => "None of its functions could be called.",
            Self::DefinitionInvalid => "What stands there would be guessed at, or silently ignored.",
            Self::DefinitionDuplicate => "Whoever refers to it by its name or number could mean the one or the other.",
            Self::DefinitionCombination => "One of the two would have no effect, and whoever wrote it expects one.",
            Self::DefinitionLink => "The transaction would not know where to go on, or would never go where it should.",
            Self::DefinitionCycle => "Each operation of a circle would wait for the others for ever.",
            Self::DefinitionUnreachable => {
                "The operation would never be performed, or the transaction would never end."
            }
            Self::DefinitionReserved => {
                "Every transaction begins at CXtsHeadOp with its input and ends at CXtsTailOp with its output."
            }
            Self::DefinitionContradiction => {
                "Part of the definition would never have any effect, for no transaction at all."
            }
            Self::DefinitionVariable => {
                "The document would not be there when it is needed, and the operation would fail."
            }
            Self::DefinitionType => "The expression would fail in every transaction that comes to it.",
            _ => return None,
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

impl FromStr for Code {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or_else(|| format!("'{text}' is no error code"))
    }
}

/// Where in a text something is wrong; both count from one, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Line, from one.
    pub line: u32,
    /// Column in characters, from one.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)
    }
}

/// What went wrong, for a person: a stable code, words, the place where there is one, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The stable code.
    pub code: Code,
    /// What is wrong, in words, without a full stop.
    pub message: String,
    /// Where in the text that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What to do about this very case; without it the code's own advice stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Fault {
    /// A fault without place or special help.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), place: None, help: None }
    }

    /// The same with a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The same with help for this very case.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What to do: the special help, or else the code's advice.
    #[must_use]
    pub fn advice(&self) -> &str {
        self.help.as_deref().unwrap_or_else(|| self.code.advice())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.message)?;
        if let Some(place) = self.place {
            write!(out, " ({place})")?;
        }
        write!(out, " [{}]", self.code)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_text_form_and_is_found_by_it() {
        for code in Code::ALL {
            assert_eq!(code.as_str().parse::<Code>().unwrap(), *code);
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.as_str()));
            assert!(code.meaning().ends_with('.') && code.advice().ends_with('.'));
        }
    }

    #[test]
    fn a_fault_says_what_where_and_what_to_do() {
        let fault = Fault::new(Code::DocumentMalformed, "the end tag </b> closes <a>").at(Place { line: 3, column: 9 });
        assert_eq!(fault.to_string(), "the end tag </b> closes <a> (line 3, column 9) [document-malformed]");
        assert_eq!(fault.advice(), Code::DocumentMalformed.advice());
        assert_eq!(fault.help("close <a> first").advice(), "close <a> first");
    }
}
