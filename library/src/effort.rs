//! How much work it would be to compile a module, counted without compiling it. [`crate::reading`] asks, and refuses what is too
//! much: compiling has no fuel, and a module of a few kilobytes can be written so that it takes hours.
//!
//! What costs more than its size says is a local that is carried through control structures: a compiler in one pass asks of each
//! structure which value each local has behind it. Loops cost most, for where they begin nothing is known of where they end.

use hansa_core::{
    code::{Code, Fault},
    limit,
};
use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, types::TypesRef};

/// How many other structures a loop is worth, once more for each loop around it.
const LOOP_WORTH: u64 = 50;

/// Refuse what is too much.
///
/// # Errors
/// [`Code::LibraryInvalid`] with what it has too much of.
pub fn check(bytes: &[u8], types: &TypesRef<'_>) -> Result<(), Fault> {
    let exports = types.core_exports().map_or(0, Iterator::count);
    for (count, what) in [
        (types.core_type_count_in_module() as usize, "types"),
        (types.function_count() as usize, "functions"),
        (types.global_count() as usize, "global variables"),
        (exports, "exports"),
    ] {
        if count > limit::LIBRARY_ITEMS_MAX {
            let most = limit::LIBRARY_ITEMS_MAX;
            return Err(too_much(format!("the module has {count} {what}, and the limit is {most}")));
        }
    }
    let malformed = |error: BinaryReaderError| too_much(format!("the module cannot be read: {}", error.message()));
    let (mut all, mut index) = (0, 0);
    for payload in Parser::new(0).parse_all(bytes) {
        let Payload::CodeSectionEntry(body) = payload.map_err(malformed)? else { continue };
        let size = body.range().len();
        if size > limit::LIBRARY_FUNCTION_BYTES_MAX {
            let most = limit::LIBRARY_FUNCTION_BYTES_MAX;
            return Err(too_much(format!("function {index} of the module has {size} bytes, and the limit is {most}")));
        }
        let mut locals = types[types.core_function_at(index)].unwrap_func().params().len() as u64;
        for declared in body.get_locals_reader().map_err(malformed)? {
            locals += u64::from(declared.map_err(malformed)?.0);
        }
        if locals > limit::LIBRARY_LOCALS_MAX {
            let most = limit::LIBRARY_LOCALS_MAX;
            return Err(too_much(format!(
                "function {index} of the module has {locals} locals, and the limit is {most}"
            )));
        }
        let effort = locals * structures(&body).map_err(malformed)?;
        if effort > limit::LIBRARY_FUNCTION_EFFORT_MAX {
            return Err(too_much(format!(
                "function {index} of the module carries too many locals through loops and blocks"
            )));
        }
        all += effort;
        index += 1;
    }
    if all > limit::LIBRARY_EFFORT_MAX {
        let message = "the functions of the module carry too many locals through loops and blocks together";
        return Err(too_much(message.to_owned()));
    }
    Ok(())
}

fn too_much(message: String) -> Fault {
    Fault::new(Code::LibraryInvalid, message)
        .help("build it for release, split large functions, and leave out what is not used")
}

/// The control structures of a function, weighed.
fn structures(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut structures = 0;
    // Of the structures around: whether each is a loop.
    let (mut around, mut depth) = (Vec::new(), 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Loop { .. } => {
                around.push(true);
                depth += 1;
                structures += LOOP_WORTH * depth;
            }
            Operator::Block { .. } | Operator::If { .. } => {
                around.push(false);
                structures += 1;
            }
            Operator::Else => structures += 1,
            // The last one ends the function.
            Operator::End => depth -= u64::from(around.pop().unwrap_or(false)),
            _ => {}
        }
    }
    Ok(structures)
}
