//! What a module has, read without compiling it: whether it is a library at all, and its functions.
//!
//! A library asks for nothing (no imports), has one memory, `hansa_allocate`, and its functions, whose exports are named by their
//! signatures: `shipping_cost(NUMVALUE,STRVALUE)NUMVALUE`. Exports of other names are the module's own affair.

use crate::effort;
use hansa_core::{
    code::{Code, Fault},
    limit,
    transaction::Signature,
};
use std::collections::BTreeSet;
use wasmparser::{Validator, WasmFeatures, types::EntityType};

/// The export that makes room for the arguments.
pub const ALLOCATE: &str = "hansa_allocate";
/// The export that holds arguments and result.
pub const MEMORY: &str = "memory";

/// What compilers emit without being asked, and nothing whose results could differ from machine to machine.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM1
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::EXTENDED_CONST)
    .difference(WasmFeatures::GC_TYPES);

/// The unit in which memory grows.
const PAGE_BYTES: usize = 64 * 1024;

fn invalid(message: impl Into<String>, help: &str) -> Fault {
    Fault::new(Code::LibraryInvalid, message).help(help)
}

const BUILD: &str = "build it as docs/functions.md describes, for wasm32-unknown-unknown";

/// The functions of a library, ordered by name.
///
/// # Errors
/// [`Code::LibraryInvalid`] with what is missing or too much.
pub fn functions(bytes: &[u8]) -> Result<Vec<Signature>, Fault> {
    let types = Validator::new_with_features(FEATURES).validate_all(bytes).map_err(|error| {
        invalid(format!("this is no WebAssembly module that can run here: {}", error.message()), BUILD)
    })?;
    let types = types.as_ref();
    if types.core_imports().is_some_and(|mut imports| imports.next().is_some()) {
        let asked: Vec<String> = types
            .core_imports()
            .into_iter()
            .flatten()
            .take(3)
            .map(|(module, name, _)| format!("{}.{}", shown(module), shown(name)))
            .collect();
        let message = format!("the module asks for {}, and a library gets nothing", asked.join(", "));
        return Err(invalid(
            message,
            "functions have no I/O, no clock and no randomness; build for wasm32-unknown-unknown",
        ));
    }
    effort::check(bytes, &types)?;
    let exports: Vec<(&str, EntityType)> = types.core_exports().into_iter().flatten().collect();
    let exported = |name: &str| exports.iter().find(|(export, _)| *export == name).map(|(_, entity)| *entity);
    let memory = match exported(MEMORY) {
        Some(EntityType::Memory(memory)) if !memory.memory64 && !memory.shared => memory,
        _ => return Err(invalid(format!("the module exports no memory of the name '{MEMORY}'"), BUILD)),
    };
    // No call could begin.
    let pages_max = (limit::LIBRARY_MEMORY_BYTES_MAX / PAGE_BYTES) as u64;
    if memory.initial > pages_max {
        let message =
            format!("the module begins with {} pages of memory, and a call has {pages_max} at most", memory.initial);
        return Err(invalid(
            message,
            "lower the initial memory, which a linker's option or a large static may have set",
        ));
    }
    let elements_max = limit::LIBRARY_TABLE_MAX as u64;
    let tables = (0..types.table_count()).map(|index| types.table_at(index).initial);
    if let Some(elements) = tables.max().filter(|elements| *elements > elements_max) {
        let message =
            format!("the module begins with a table of {elements} elements, and a call has {elements_max} at most");
        return Err(invalid(message, BUILD));
    }
    if !exported(ALLOCATE).is_some_and(|entity| has_type(&types, entity, "i32", "i32")) {
        return Err(invalid(format!("the module exports no function {ALLOCATE}(i32) -> i32"), BUILD));
    }
    let mut functions = Vec::new();
    for (name, entity) in exports.iter().filter(|(name, _)| name.contains('(')) {
        let signature: Signature = name.parse().map_err(|why| invalid(why, BUILD))?;
        if !has_type(&types, *entity, "i32 i32", "i64") {
            return Err(invalid(format!("the export '{signature}' is no function (i32, i32) -> i64"), BUILD));
        }
        functions.push(signature);
    }
    let names: BTreeSet<&str> = functions.iter().map(|signature| signature.name.as_str()).collect();
    if names.is_empty() || names.len() > limit::LIBRARY_FUNCTIONS_MAX {
        let message = format!(
            "the module exports {} functions, and a library has 1 to {}",
            names.len(),
            limit::LIBRARY_FUNCTIONS_MAX
        );
        return Err(invalid(message, "name exports by their signatures, such as cost(NUMVALUE)NUMVALUE"));
    }
    if names.len() < functions.len() {
        return Err(invalid("two functions of the module have the same name", "give every function a name of its own"));
    }
    functions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(functions)
}

/// A name from the module in a message: cut where it is long, and without anything that a terminal would obey.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
    if name.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

fn has_type(types: &wasmparser::types::TypesRef<'_>, entity: EntityType, takes: &str, makes: &str) -> bool {
    let EntityType::Func(id) = entity else { return false };
    let words = |types: &[wasmparser::ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let function = types[id].unwrap_func();
    words(function.params()) == takes && words(function.results()) == makes
}
