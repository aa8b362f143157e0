//! Functions for the expressions of transaction definitions, in Rust, for WebAssembly.
//!
//! ```
//! hansa_function::export! {
//!     /// What it costs to send a parcel.
//!     fn shipping_cost(kilograms: Number, zone: Text) -> Number {
//!         let each: Number = match zone.as_str() {
//!             "EU" => "2.50".parse()?,
//!             _ => return Err(format!("nothing is sent to zone {zone}")),
//!         };
//!         each.times(kilograms)?.rounded(2)
//!     }
//! }
//! # assert_eq!(shipping_cost("1.5".parse().unwrap(), "EU".into()).unwrap().to_string(), "3.75");
//! ```
//!
//! Build it as a `cdylib` for `wasm32-unknown-unknown`, and give it to a node with `hansa library add NAME FILE.wasm`. A function gets its
//! arguments and nothing else: no files, no network, no clock, no randomness. What it returns as `Err` is what people read as the reason why
//! the expression failed.
//!
//! This crate has no dependencies. How values cross the border is described in `docs/functions.md`; unsafe code is in this file alone.

mod number;

pub use number::Number;

/// A text: STRVALUE.
pub type Text = String;
/// A truth value: BOOLVALUE.
pub type Truth = bool;

/// Elements as XML: DOCVALUE. As result it is one element, or several one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(pub String);

/// What can be an argument and a result. The four types have it.
pub trait Value: Sized {
    /// The letter that stands for its type.
    const LETTER: u8;
    /// Reads it from its text.
    ///
    /// # Errors
    /// What is wrong with it.
    fn read(text: &str) -> Result<Self, String>;
    /// Writes it as text.
    fn write(&self) -> String;
}

impl Value for Number {
    const LETTER: u8 = b'N';
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for Text {
    const LETTER: u8 = b'S';
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn write(&self) -> String {
        self.clone()
    }
}

impl Value for Truth {
    const LETTER: u8 = b'B';
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("'{text}' is neither true nor false"))
    }
    fn write(&self) -> String {
        self.to_string()
    }
}

impl Value for Document {
    const LETTER: u8 = b'D';
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    fn write(&self) -> String {
        self.0.clone()
    }
}

/// The arguments of a call that are still to be read.
#[derive(Debug)]
pub struct Arguments<'a>(&'a [u8]);

impl Arguments<'_> {
    /// The next one.
    ///
    /// # Errors
    /// It is of another type, or not there: the node calls as the signature says, so somebody else did.
    pub fn take<T: Value>(&mut self) -> Result<T, String> {
        let short = || "there are fewer arguments than the signature says".to_owned();
        let (header, rest) = self.0.split_at_checked(5).ok_or_else(short)?;
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        if header[0] != T::LETTER {
            return Err("an argument has another type than the signature says".to_owned());
        }
        T::read(std::str::from_utf8(text).map_err(|_| "an argument is not UTF-8".to_owned())?)
    }
}

fn framed(letter: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = vec![letter];
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Answers a call: what the exported functions do, without WebAssembly around it.
pub fn respond<T: Value>(arguments: &[u8], function: impl FnOnce(&mut Arguments<'_>) -> Result<T, String>) -> Vec<u8> {
    match function(&mut Arguments(arguments)) {
        Ok(value) => framed(T::LETTER, &value.write()),
        Err(reason) => framed(b'E', &reason),
    }
}

/// What an exported function does with what it is given.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub fn answer<T: Value>(
    pointer: *const u8,
    length: usize,
    function: impl FnOnce(&mut Arguments<'_>) -> Result<T, String>,
) -> u64 {
    // SAFETY: the node wrote so many bytes to where `hansa_allocate` said that there is room for them.
    let arguments = unsafe { std::slice::from_raw_parts(pointer, length) };
    let bytes = respond(arguments, function).leak();
    (bytes.as_ptr() as u64) << 32 | bytes.len() as u64
}

/// Makes room for the arguments of a call. An instance serves one call, so nothing is given back.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
pub extern "C" fn hansa_allocate(length: usize) -> *mut u8 {
    vec![0; length].leak().as_mut_ptr()
}

/// Exports functions of a library. Each is a function as usual that returns its value or, as `Err`, the reason why there is none; its parameters
/// and its result are of the types `Number`, `Text`, `Truth`, `Document`.
#[macro_export]
macro_rules! export {
    ($($(#[$meta:meta])* fn $name:ident($($parameter:ident: $type:ident),* $(,)?) -> $made:ident $body:block)+) => {$(
        $(#[$meta])*
        pub fn $name($($parameter: $crate::$type),*) -> ::core::result::Result<$crate::$made, ::std::string::String> {
            #[allow(unused_imports)]
            use $crate::{Document, Number, Text, Truth};
            $body
        }

        const _: () = {
            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = $crate::signature!($name [$($type)*] $made))]
            extern "C" fn exported(pointer: *const u8, length: usize) -> u64 {
                $crate::answer(pointer, length, |_arguments| $name($(_arguments.take::<$crate::$type>()?),*))
            }
        };
    )+};
}

/// The name of an export: its signature.
#[doc(hidden)]
#[macro_export]
macro_rules! signature {
    ($name:ident [] $made:ident) => { concat!(stringify!($name), "()", $crate::value_type!($made)) };
    ($name:ident [$first:ident $($rest:ident)*] $made:ident) => {
        concat!(
            stringify!($name), "(", $crate::value_type!($first), $(",", $crate::value_type!($rest),)* ")",
            $crate::value_type!($made)
        )
    };
}

/// The VALTYPE of a Rust type.
#[doc(hidden)]
#[macro_export]
macro_rules! value_type {
    (Number) => {
        "NUMVALUE"
    };
    (Text) => {
        "STRVALUE"
    };
    (Truth) => {
        "BOOLVALUE"
    };
    (Document) => {
        "DOCVALUE"
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::export! {
        /// Whether there is a text.
        fn is_there(text: Text) -> Truth { Ok(!text.is_empty()) }
        fn nothing() -> Number { Err("there is nothing".to_owned()) }
        fn wrapped(inner: Document, name: Text) -> Document { Ok(Document(format!("<{name}>{}</{name}>", inner.0))) }
    }

    // T9: the names of exports are what the node reads.
    #[test]
    fn an_export_is_named_by_its_signature() {
        assert_eq!(crate::signature!(is_there [Text] Truth), "is_there(STRVALUE)BOOLVALUE");
        assert_eq!(crate::signature!(nothing [] Number), "nothing()NUMVALUE");
        assert_eq!(crate::signature!(wrapped [Document Text] Document), "wrapped(DOCVALUE,STRVALUE)DOCVALUE");
    }

    #[test]
    fn arguments_are_read_in_order_and_a_value_or_the_reason_comes_back() {
        let arguments = [framed(b'D', "<a/>"), framed(b'S', "b")].concat();
        let answer = respond(&arguments, |arguments| wrapped(arguments.take()?, arguments.take()?));
        assert_eq!(answer, framed(b'D', "<b><a/></b>"));
        assert_eq!(respond(&[], |_| nothing()), framed(b'E', "there is nothing"));
        assert_eq!(respond(&framed(b'S', ""), |arguments| is_there(arguments.take()?)), framed(b'B', "false"));
    }

    #[test]
    fn arguments_that_are_not_what_the_signature_says_are_a_reason_and_no_panic() {
        for arguments in [vec![], vec![b'S', 9, 0, 0, 0, 1], framed(b'N', "1"), vec![b'S', 1, 0, 0, 0, 255]] {
            let answer = respond(&arguments, |arguments| is_there(arguments.take()?));
            assert_eq!(answer[0], b'E', "{arguments:?}");
        }
    }
}
