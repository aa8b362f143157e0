//! What is to be done, and what must come of it: the definitions, what each service answers, and the model of outcomes.

use super::papers::name;
use hansa_core::{
    code::{Code, Fault},
    document::{Element, Text},
    ident::{DefinitionName, SignalName},
    invocation::{Invocation, Outcome},
    session::Ending,
};

/// The definitions of every node; a client wants one of the first [`WISHED`].
pub const DEFINITIONS: [&str; 6] = ["chain", "fork", "quote", "timed", "deal", "part"];
pub const WISHED: u64 = 5;

/// The operations of a definition that can be undone, by index.
pub fn undoable(definition: &str) -> &'static [u32] {
    match definition {
        "deal" => &[1, 2],
        "part" => &[1],
        _ => &[],
    }
}

/// What every organization's one service performs.
pub const OPERATIONS: [&str; 9] =
    ["check", "choose", "confirm", "backorder", "quote", "reserve", "pick", "hold", "release"];

pub fn text(xml: &str) -> Text {
    Text::parse(xml.as_bytes()).expect("it is well formed")
}

fn link(from: u32, to: u32) -> String {
    format!("<OPLINK><SRCOPID>{from}</SRCOPID><DSTOPID>{to}</DSTOPID></OPLINK>")
}

fn operation(id: u32, name: &str, links: &[u32], rest: &str) -> String {
    let is_performed = !name.starts_with("CXts") && !["hx:TRANSACTION", "hx:SIGNAL"].iter().any(|it| rest.contains(it));
    let performer = if !is_performed { "" } else { "<CXCNAME>ANY</CXCNAME>" };
    let links: String = links.iter().map(|to| link(id, *to)).collect();
    format!("<OPERATION><NAME>{name}</NAME><OPID>{id}</OPID>{performer}{rest}{links}</OPERATION>")
}

fn variable(id: u32, side: &str, path: &str) -> String {
    format!(
        "<VAR><VARNAME>{path}</VARNAME><OPID>{id}</OPID><OPDOCIOTYPE>{side}</OPDOCIOTYPE><VALTYPE>STRVALUE</VALTYPE></VAR>"
    )
}

/// The organization that the input names in `<At>`.
fn at() -> String {
    format!("<hx:ORGANIZATION><EXPR>{}</EXPR></hx:ORGANIZATION>", variable(0, "INPUT", "At"))
}

fn statement(id: u32, to: u32, element: &str) -> String {
    let variable = variable(id, "OUTPUT", element);
    format!(
        "<STMT><EXPR><FUNCTION><FUNCNAME>EXISTS</FUNCNAME><EXPR>{variable}</EXPR></FUNCTION></EXPR><OPID>{to}</OPID></STMT>"
    )
}

fn whole(id: u32, side: &str) -> String {
    format!("<DOCUMENT><OPID>{id}</OPID><OPDOCIOTYPE>{side}</OPDOCIOTYPE></DOCUMENT>")
}

const RETRY: &str = "<hx:RETRY><hx:ATTEMPTS>3</hx:ATTEMPTS><hx:PAUSE>0.1</hx:PAUSE></hx:RETRY>";
const RELEASE: &str = "<hx:COMPENSATION><NAME>release</NAME></hx:COMPENSATION>";

pub fn definition(named: &str) -> Text {
    let mut tail = String::new();
    let operations = match named {
        "chain" => vec![
            operation(0, "CXtsHeadOp", &[1], ""),
            operation(1, "check", &[2], ""),
            operation(2, "confirm", &[9], &at()),
        ],
        "fork" => {
            let split = format!("<SPLIT>{}{}</SPLIT>", statement(1, 2, "Yes"), statement(1, 3, "No"));
            vec![
                operation(0, "CXtsHeadOp", &[1], ""),
                operation(1, "choose", &[2, 3], &split),
                operation(2, "confirm", &[9], &at()),
                operation(3, "backorder", &[4], ""),
                operation(4, "check", &[9], &at()),
            ]
        }
        // Everything beyond the source: an iteration whose first attempts fail, a transaction in it, a signal, undoing.
        "deal" => {
            tail = format!("<JOIN>{}{}</JOIN>", whole(3, "OUTPUT"), whole(4, "OUTPUT"));
            let lines = "<hx:ITERATE><DOCUMENT><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE>\
                <OPDOCVARTYPE>Line</OPDOCVARTYPE></DOCUMENT><hx:MAX>9</hx:MAX><hx:CONCURRENT>2</hx:CONCURRENT></hx:ITERATE>";
            let inner = format!("<hx:TRANSACTION>part</hx:TRANSACTION><JOIN>{}</JOIN>", whole(0, "INPUT"));
            vec![
                operation(0, "CXtsHeadOp", &[1], ""),
                operation(1, "reserve", &[2], RELEASE),
                operation(2, "pick", &[3], &format!("{RETRY}{RELEASE}{lines}")),
                operation(3, "inner", &[4], &inner),
                operation(4, "approval", &[9], "<hx:SIGNAL>approved</hx:SIGNAL>"),
            ]
        }
        "part" => {
            tail = format!("<JOIN>{}</JOIN>", whole(2, "OUTPUT"));
            let asked = format!("<JOIN>{}</JOIN>{}", whole(0, "INPUT"), at());
            vec![
                operation(0, "CXtsHeadOp", &[1], ""),
                operation(1, "hold", &[2], RELEASE),
                operation(2, "confirm", &[9], &asked),
            ]
        }
        "quote" => vec![
            operation(0, "CXtsHeadOp", &[1, 2], ""),
            operation(1, "quote", &[9], "<BROADCAST><hx:SCOPE>FEDERATION</hx:SCOPE></BROADCAST>"),
            operation(2, "check", &[9], ""),
        ],
        _ => vec![
            operation(0, "CXtsHeadOp", &[1], ""),
            operation(1, "confirm", &[2], &format!("<TIMEOUT>1</TIMEOUT>{}", at())),
            operation(2, "check", &[9], ""),
        ],
    };
    text(&format!(
        "<TRANSACTION xmlns:hx=\"urn:hansa:transaction:1\"><NAME>{named}</NAME>{}{}</TRANSACTION>",
        operations.concat(),
        operation(9, "CXtsTailOp", &[], &tail)
    ))
}

/// One transaction that a client wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub definition: DefinitionName,
    /// The organization whose transaction it is, and the one that the input names.
    pub home: u8,
    pub at: u8,
    /// How many organizations there are.
    pub members: u8,
    /// Whether `choose` says yes, and whether `confirm` can be done.
    pub yes: bool,
    pub can: bool,
}

impl Wish {
    pub fn document(&self) -> Text {
        let word = |said, name: &str| if said { format!("<{name}/>") } else { String::new() };
        let (yes, can) = (word(self.yes, "Yes"), word(self.can, "Can"));
        text(&format!("<Order><At>{}</At>{yes}{can}<Line/><Line/><Line/></Order>", name(self.at)))
    }

    /// The signal that the transaction waits for, if it does.
    pub fn signal(&self) -> Option<(SignalName, Text)> {
        let waits = self.definition.as_str() == "deal";
        waits.then(|| ("approved".parse().expect("it is a name"), text("<Approved/>")))
    }

    /// The marks that the output has: who answered which of the operations that lead to the tail.
    fn marks(&self) -> Vec<String> {
        let confirm = self.can.then(|| mark(self.at, "confirm"));
        match self.definition.as_str() {
            "chain" => confirm.into_iter().flat_map(|confirm| [mark(self.home, "check"), confirm]).collect(),
            "fork" if self.yes => confirm.into_iter().collect(),
            "fork" => vec![mark(self.home, "backorder"), mark(self.at, "check")],
            "quote" => {
                let quotes = (1..=self.members).map(|by| mark(by, "quote"));
                quotes.chain([mark(self.home, "check")]).collect()
            }
            _ => vec![mark(self.home, "check")],
        }
    }

    /// Whether this may have come of it.
    pub fn allows(&self, ending: &Ending, cancelled: bool) -> bool {
        if self.definition.as_str() == "deal" {
            let confirmed = |output: &Text| {
                let said = [format!("by=\"{}\"", name(self.at)), "did=\"confirm\"".to_owned(), "<Approved".to_owned()];
                said.iter().all(|said| output.as_str().contains(said))
            };
            return match ending {
                Ending::Cancelled => cancelled,
                Ending::Completed(output) => self.can && confirmed(output),
                Ending::Failed(fault) => !self.can && fault.code == Code::OperationFailed,
                Ending::TimedOut => false,
            };
        }
        match ending {
            Ending::Cancelled => cancelled,
            Ending::Completed(output) => {
                let (mut found, mut expected) = (outputs(output), self.marks());
                // It may have been in time, or not.
                if self.definition.as_str() == "timed" && self.can {
                    let confirm = mark(self.at, "confirm");
                    found.retain(|mark| *mark != confirm);
                }
                found.sort();
                expected.sort();
                found == expected
            }
            Ending::Failed(_) | Ending::TimedOut => false,
        }
    }
}

fn mark(by: u8, operation: &str) -> String {
    format!("{} did {operation}", name(by))
}

/// The marks in the outputs that a document of the default join shows.
fn outputs(document: &Text) -> Vec<String> {
    let tree = document.tree().expect("an output is a document");
    let operations = tree.root.elements().filter(|element| &*element.name.local == "Operation");
    operations.filter_map(|operation| operation.child("Output")).flat_map(marks_below).collect()
}

fn marks_below(element: &Element) -> Vec<String> {
    if &*element.name.local == "Done" {
        let said = |name| element.attribute(name).unwrap_or_default();
        return vec![format!("{} did {}", said("by"), said("did"))];
    }
    element.elements().flat_map(marks_below).collect()
}

/// What the service of organization `by` answers: always the same to the same invocation.
pub fn outcome(by: u8, invocation: &Invocation) -> Outcome {
    let (operation, asked) = (invocation.target.operation.as_str(), invocation.document.as_str());
    match operation {
        "choose" => Outcome::Completed(text(if asked.contains("<Yes/>") {
            "<Choice><Yes/></Choice>"
        } else {
            "<Choice><No/></Choice>"
        })),
        "pick" if invocation.context.attempt == 1 => {
            Outcome::Failed(Fault::new(Code::OperationFailed, "it fell off the shelf"))
        }
        "confirm" if !asked.contains("<Can/>") => {
            Outcome::Failed(Fault::new(Code::OperationFailed, "it cannot be done"))
        }
        _ => Outcome::Completed(text(&format!("<Done by=\"{}\" did=\"{operation}\"/>", name(by)))),
    }
}
