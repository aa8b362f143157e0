//! Libraries of user functions, as definitions see them: names, signatures, and a call (T9).
//!
//! What runs a library is a port: values go in, a value or the reason why there is none comes out, and the same values give the same
//! result on every machine. Whoever implements it (with WebAssembly) lives outside of the core, and is handed to the catalogue, which
//! hands the libraries to definitions. So expressions that call none know nothing of this.

use super::{
    expression::{Documents, Evaluation, Expression, Kind, Trouble},
    function::Site,
    grammar::meant,
    path::shown,
    value::{Value, ValueType},
};
use crate::{
    code::{Code, Fault, Place},
    ident::{LibraryHash, LibraryName},
    limit,
};
use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// What a function of a library takes and makes: `shipping_cost(NUMVALUE,STRVALUE)NUMVALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// As FUNCNAME writes it.
    pub name: String,
    /// What it takes.
    pub parameters: Vec<ValueType>,
    /// What it makes.
    pub makes: ValueType,
}

impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<&str> = self.parameters.iter().map(|it| it.as_str()).collect();
        write!(out, "{}({}){}", self.name, parameters.join(","), self.makes.as_str())
    }
}

impl FromStr for Signature {
    /// What is wrong, in words.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("'{}' is no signature such as cost(NUMVALUE,STRVALUE)NUMVALUE: {why}", shown(text));
        let (name, rest) = text.split_once('(').ok_or_else(|| wrong("it has no parenthesis"))?;
        let (parameters, makes) = rest.split_once(')').ok_or_else(|| wrong("its parenthesis is not closed"))?;
        let is_name = name.len() <= limit::NAME_BYTES_MAX
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.chars().all(|character| character.is_ascii_alphanumeric() || "_-".contains(character));
        if !is_name {
            return Err(wrong("its name does not consist of letters, digits, dashes and underscores"));
        }
        let value_type = |text: &str| {
            ValueType::named(text).ok_or_else(|| wrong("a type is NUMVALUE, STRVALUE, BOOLVALUE or DOCVALUE"))
        };
        let parameters = match parameters {
            "" => Vec::new(),
            some => some.split(',').map(value_type).collect::<Result<_, _>>()?,
        };
        if parameters.len() > limit::LIBRARY_PARAMETERS_MAX {
            return Err(wrong("it takes too many arguments"));
        }
        Ok(Self { name: name.to_owned(), parameters, makes: value_type(makes)? })
    }
}

/// A library that can be called.
pub trait Library: fmt::Debug + Send + Sync {
    /// Which version it is: the hash of its bytes.
    fn hash(&self) -> LibraryHash;

    /// Its functions, ordered by name.
    fn functions(&self) -> &[Signature];

    /// The value of the function at this index of [`functions`](Self::functions), which it makes of these values alone. The work that it
    /// does is taken from `fuel`, at most what one call may use.
    ///
    /// # Errors
    /// Why there is none, in words. Never a panic, whatever the library does.
    fn call(&self, function: usize, arguments: &[Value], fuel: &mut u64) -> Result<Value, String>;
}

/// What makes a library of its bytes: quickly, for it is asked while the catalogue decides.
pub trait Load: fmt::Debug + Send + Sync {
    /// The library.
    ///
    /// # Errors
    /// [`Code::LibraryInvalid`] where the bytes are none.
    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Library>, Fault>;
}

/// The loader of a node, if it has one.
#[derive(Clone, Debug, Default)]
pub struct Loader(Option<Arc<dyn Load>>);

impl Loader {
    /// This one.
    #[must_use]
    pub fn new(loader: Arc<dyn Load>) -> Self {
        Self(Some(loader))
    }

    /// The library with these bytes.
    ///
    /// # Errors
    /// [`Code::LibraryInvalid`] where there is none.
    pub fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Library>, Fault> {
        match &self.0 {
            Some(loader) => loader.load(bytes),
            None => Err(Fault::new(Code::LibraryInvalid, "nothing here runs libraries of functions")
                .help("start the in-memory node with a loader, such as that of the crate hansa-library")),
        }
    }
}

/// The libraries that a definition may name.
#[derive(Clone, Debug, Default)]
pub struct Libraries(BTreeMap<LibraryName, Arc<dyn Library>>);

impl Libraries {
    /// With one more.
    pub fn add(&mut self, name: LibraryName, library: Arc<dyn Library>) {
        self.0.insert(name, library);
    }

    /// The library of this name.
    #[must_use]
    pub fn named(&self, name: &LibraryName) -> Option<&Arc<dyn Library>> {
        self.0.get(name)
    }

    /// The library that a definition names at this place.
    pub(super) fn find(&self, name: &LibraryName, place: Place) -> Result<&Arc<dyn Library>, Fault> {
        self.named(name).ok_or_else(|| {
            let help = match meant(name.as_str(), self.0.keys().map(LibraryName::as_str)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!(
                    "add it with `hansa library add {name} FILE.wasm`; to check without a node, give --library {name}=FILE.wasm"
                ),
            };
            Fault::new(
                Code::LibraryUnknown,
                format!("the library '{name}' is not here, so its function cannot be checked"),
            )
            .at(place)
            .help(help)
        })
    }
}

/// The call of a library's function as an expression.
///
/// # Errors
/// [`Code::DefinitionType`] for everything that does not fit.
pub(super) fn call(
    (name, library): (&LibraryName, &Arc<dyn Library>),
    (function, at): (&str, Place),
    arguments: Vec<Expression>,
    site: &Site<'_>,
) -> Result<Expression, Vec<Fault>> {
    let fault =
        |place: Place, message: String, help: String| Fault::new(Code::DefinitionType, message).at(place).help(help);
    let functions = library.functions();
    let Some(index) = functions.iter().position(|signature| signature.name == function) else {
        let names: Vec<&str> = functions.iter().map(|signature| signature.name.as_str()).collect();
        let help = meant(function, names.iter().copied())
            .map_or_else(|| format!("it has {}", names.join(", ")), |meant| format!("did you mean {meant}?"));
        return Err(vec![fault(at, format!("the library '{name}' has no function '{}'", shown(function)), help)]);
    };
    let signature = &functions[index];
    let (wanted, given) = (signature.parameters.len(), arguments.len());
    if wanted != given {
        let message = format!("{function} takes {wanted} arguments, and here are {given}");
        return Err(vec![fault(
            site.place,
            message,
            format!("each EXPR in the FUNCTION is one argument: {signature}"),
        )]);
    }
    let mut faults: Vec<Fault> = (1..)
        .zip(arguments.iter().zip(&signature.parameters))
        .filter(|(_, (argument, wanted))| argument.value_type() != **wanted)
        .map(|(number, (argument, wanted))| {
            let given = argument.value_type();
            let message = format!("argument {number} of {function} is a {wanted}, and this is a {given}");
            fault(argument.place(), message, format!("give it VALTYPE {}, or convert it: {signature}", wanted.as_str()))
        })
        .collect();
    if let Some((declared, at)) = site.declared
        && declared != signature.makes
    {
        let makes = signature.makes;
        faults.push(fault(
            at,
            format!("{function} makes a {makes}, not a {declared}"),
            format!("write VALTYPE {}", makes.as_str()),
        ));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let makes = signature.makes;
    Ok(Expression::of(
        Kind::Library { name: name.clone(), library: Arc::clone(library), function: index, arguments },
        makes,
        site.place,
    ))
}

impl<D: Documents> Evaluation<'_, D> {
    pub(super) fn call_library(
        &self,
        expression: &Expression,
        (name, library, function): (&LibraryName, &Arc<dyn Library>, usize),
        arguments: &[Expression],
    ) -> Result<Value, Trouble> {
        let values = arguments.iter().map(|argument| self.evaluate(argument)).collect::<Result<Vec<_>, _>>()?;
        let called = library.functions().get(function).map_or("", |signature| signature.name.as_str());
        let wrong = |message: String| Trouble::Wrong(expression.failed(format!("{name}.{called}: {message}")));
        let value = self.with_fuel(|fuel| library.call(function, &values, fuel)).map_err(wrong)?;
        // The loader promises it; nothing behind an expression may meet another type than it was checked with.
        if value.value_type() == expression.value_type() {
            Ok(value)
        } else {
            Err(wrong(format!("it made a {}, not a {}", value.value_type(), expression.value_type())))
        }
    }
}
