//! What libraries of functions promise (T9): what is none is refused with its reason; a call depends on its arguments alone, stays within its
//! limits, and whatever a module does, the process stays well.

use hansa_core::{
    code::Code,
    document::Text,
    ident::LibraryHash,
    limit,
    moment::Moment,
    transaction::{Definition, Documents, Libraries, Library, Load, Side, Value, ValueType, request_document},
};
use hansa_library::Runtime;
use std::{path::Path, process::Command, sync::Arc};

/// A module with a memory, room for arguments, and these functions.
fn module(functions: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            (memory (export "memory") 1)
            (global $end (mut i32) (i32.const 4096))
            (func (export "hansa_allocate") (param $length i32) (result i32)
                (global.get $end)
                (global.set $end (i32.add (global.get $end) (local.get $length))))
            {functions})"#
    );
    wat::parse_str(text).unwrap()
}

/// A function that does this and returns what is in memory from `at` on.
fn function(signature: &str, body: &str) -> String {
    format!(r#"(func (export "{signature}") (param $at i32) (param $length i32) (result i64) {body})"#)
}

/// Returns its only argument: that a value is written the same both ways makes this the shortest function.
const SAME: &str =
    "(i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $length)))";

fn loaded(functions: &str) -> Arc<dyn Library> {
    Runtime::new().unwrap().load(&module(functions)).unwrap()
}

fn call(library: &Arc<dyn Library>, name: &str, arguments: &[Value]) -> Result<Value, String> {
    let index = library.functions().iter().position(|signature| signature.name == name).expect(name);
    library.call(index, arguments, &mut limit::EVALUATION_FUEL_MAX.clone())
}

fn text(it: &str) -> Value {
    Value::Text(it.to_owned())
}

#[test]
fn a_library_has_the_functions_that_its_exports_name_by_their_signatures() {
    let bytes =
        module(&[function("same(STRVALUE)STRVALUE", SAME), function("b-2(NUMVALUE,BOOLVALUE)DOCVALUE", SAME)].concat());
    let library = Runtime::new().unwrap().load(&bytes).unwrap();
    let signatures: Vec<String> = library.functions().iter().map(ToString::to_string).collect();
    assert_eq!(signatures, ["b-2(NUMVALUE,BOOLVALUE)DOCVALUE", "same(STRVALUE)STRVALUE"]);
    assert_eq!(library.hash(), LibraryHash(*blake3::hash(&bytes).as_bytes()));
    assert_eq!(call(&library, "same", &[text("Köln")]), Ok(text("Köln")));
}

#[test]
fn what_is_no_library_is_refused_with_the_reason() {
    let refused = |bytes: &[u8]| Runtime::new().unwrap().load(bytes).unwrap_err();
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let with = |rest: &str| wat(&format!("(module (memory (export \"memory\") 1) {rest})"));
    let allocate = "(func (export \"hansa_allocate\") (param i32) (result i32) (i32.const 8))";
    for (bytes, words) in [
        (b"MZ".to_vec(), "no WebAssembly module"),
        (module("(func (export \"f()NUMVALUE\") (result i32) (i32.const 1))"), "no function (i32, i32) -> i64"),
        (module(&function("f(INT)NUMVALUE", SAME)), "a type is NUMVALUE"),
        (module(&function("f x()NUMVALUE", SAME)), "its name"),
        (module(&[function("f()NUMVALUE", SAME), function("f(STRVALUE)NUMVALUE", SAME)].concat()), "the same name"),
        (module(""), "exports 0 functions"),
        (wat(&format!("(module {allocate})")), "exports no memory"),
        (with(""), "hansa_allocate"),
        (
            wat(
                "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))))",
            ),
            "asks for wasi_snapshot_preview1.fd_write, and a library gets nothing",
        ),
        // What could give another result on another machine is not there at all.
        (with(&format!("{allocate} (func (result v128) (i32x4.splat (i32.const 1)))")), "SIMD"),
        (wat("(module (memory (export \"memory\") 1 1 shared))"), "shared"),
        (vec![0; limit::LIBRARY_BYTES_MAX + 1], "and the limit is"),
    ] {
        let fault = refused(&bytes);
        assert_eq!(fault.code, Code::LibraryInvalid);
        assert!(fault.message.contains(words), "{words}: {fault}");
    }
}

#[test]
fn a_call_that_goes_wrong_is_a_reason_and_the_next_call_works() {
    let spin = function("spin()NUMVALUE", "(loop $again (br $again)) (unreachable)");
    let fill = function(
        "fill()NUMVALUE",
        "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $again)) (unreachable)",
    );
    let panic = function("panic()NUMVALUE", "(unreachable)");
    let deep = "(func $deep (result i64) (call $deep) (drop) (call $deep))".to_owned()
        + &function("deep()NUMVALUE", "(call $deep)");
    let outside = function("outside()NUMVALUE", "(i64.const -1)");
    let nothing = function("nothing()NUMVALUE", "(i64.const 0)");
    let other = function("other(STRVALUE)NUMVALUE", SAME);
    let beyond = function("beyond()NUMVALUE", "(i64.extend_i32_u (i32.load (i32.const 100000000)))");
    let same = function("same(STRVALUE)STRVALUE", SAME);
    let library = loaded(&[spin, fill, panic, deep, outside, nothing, other, beyond, same].concat());
    for (name, words) in [
        ("spin", "within the steps that it has"),
        ("fill", "within the steps that it has"),
        ("panic", "it gave up, as a panic does"),
        ("deep", "used up its stack"),
        ("outside", "not in its memory"),
        ("nothing", "is no value: it is too short"),
        ("beyond", "it was stopped"),
    ] {
        let message = call(&library, name, &[]).unwrap_err();
        assert!(message.contains(words), "{name}: {message}");
    }
    let message = call(&library, "other", &[text("x")]).unwrap_err();
    assert!(message.contains("it returned a text, and its signature says that it makes a number"), "{message}");
    assert_eq!(call(&library, "same", &[text("well")]), Ok(text("well")));
}

// What one call leaves in memory and globals, no other sees: replay must come to the same result.
#[test]
fn every_call_begins_anew() {
    // Returns its argument, of which it has cut off as many bytes as there were calls before.
    let body = r#"
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.add (local.get $at) (i32.const 5)) (i32.add (i32.const 48) (global.get $calls)))
    "#;
    let counts = "(global $calls (mut i32) (i32.const 0))".to_owned()
        + &function("count(STRVALUE)STRVALUE", &format!("{body} {SAME}"));
    let library = loaded(&counts);
    for _ in 0..3 {
        assert_eq!(call(&library, "count", &[text("?")]), Ok(text("1")));
    }
}

#[test]
fn memory_grows_up_to_the_limit_and_no_further() {
    let body = r#"
        (block $full (loop $more
            (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
            (br $more)))
        (i32.store8 (i32.const 0) (i32.const 78))
        (i32.store (i32.const 1) (i32.const 4))
        (i32.store8 (i32.const 5) (i32.add (i32.const 48) (i32.div_u (memory.size) (i32.const 1000))))
        (i32.store8 (i32.const 6) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (memory.size) (i32.const 100)) (i32.const 10))))
        (i32.store8 (i32.const 7) (i32.add (i32.const 48) (i32.rem_u (i32.div_u (memory.size) (i32.const 10)) (i32.const 10))))
        (i32.store8 (i32.const 8) (i32.add (i32.const 48) (i32.rem_u (memory.size) (i32.const 10))))
        (i64.const 9)"#;
    let library = loaded(&function("pages()NUMVALUE", body));
    let pages = call(&library, "pages", &[]).unwrap().to_string().parse::<usize>().unwrap();
    assert!((1000..=limit::LIBRARY_MEMORY_BYTES_MAX / 65_536).contains(&pages), "{pages}");
}

// Fuel is what bounds time, and it is shared by all calls of one evaluation.
#[test]
fn calls_take_from_the_fuel_that_they_are_given() {
    let library = loaded(
        &[
            function("same(STRVALUE)STRVALUE", SAME),
            function("spin()NUMVALUE", "(loop $again (br $again)) (unreachable)"),
        ]
        .concat(),
    );
    let (mut one, mut other) = (1_000_000, 1_000_000);
    assert!(library.call(0, &[text("a")], &mut one).is_ok() && library.call(0, &[text("a")], &mut other).is_ok());
    assert_eq!(one, other, "the same work costs the same");
    assert!(one < 1_000_000);
    assert!(library.call(1, &[], &mut one).is_err());
    assert_eq!(one, 0);
    assert!(library.call(0, &[text("a")], &mut one).unwrap_err().contains("within the steps"));
}

/// The documents of a transaction of which there is the input alone.
struct Input(Text);

impl Documents for Input {
    fn document(&self, operation: usize, _: Side) -> Option<&Text> {
        (operation == 0).then_some(&self.0)
    }

    fn submitted(&self) -> Moment {
        Moment(0)
    }
}

/// The library that is the crate's example, built as its documentation says; none where the toolchain lacks the target.
fn freight() -> Option<Vec<u8>> {
    let sysroot = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8(sysroot.stdout).ok()?;
    if !Path::new(sysroot.trim()).join("lib/rustlib/wasm32-unknown-unknown").exists() {
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // A folder of its own: the build around this one holds the lock of the usual one.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("freight");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--offline", "--target", "wasm32-unknown-unknown"])
        .args(["-p", "hansa-function", "--example", "freight", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(built.success(), "the example cannot be built");
    Some(std::fs::read(target.join("wasm32-unknown-unknown/release/examples/freight.wasm")).unwrap())
}

#[test]
fn the_example_in_rust_runs_in_the_expressions_of_a_definition() {
    let Some(bytes) = freight() else {
        let required = std::env::var_os("HANSA_WASM_REQUIRED").is_some();
        assert!(!required, "this toolchain cannot build for wasm32-unknown-unknown; `rustup target add` it");
        eprintln!(
            "SKIPPED: this toolchain cannot build for wasm32-unknown-unknown, so the example library was not tried"
        );
        return;
    };
    let mut libraries = Libraries::default();
    libraries.add("freight".parse().unwrap(), Runtime::new().unwrap().load(&bytes).unwrap());
    let variable = |path: &str, value_type: &str| {
        format!(
            "<EXPR><VAR><VARNAME>{path}</VARNAME><OPID>0</OPID><OPDOCIOTYPE>INPUT</OPDOCIOTYPE><VALTYPE>{value_type}</VALTYPE></VAR></EXPR>"
        )
    };
    let call = |function: &str, arguments: &[String]| {
        format!(
            "<EXPR><FUNCTION><FUNCNAME>{function}</FUNCNAME><LIBNAME>freight</LIBNAME>{}</FUNCTION></EXPR>",
            arguments.concat()
        )
    };
    let argument = |name: &str, value_type: &str, expression: &str| {
        format!("<ARG><NAME>{name}</NAME><VALTYPE>{value_type}</VALTYPE>{expression}</ARG>")
    };
    let cost = call("shipping_cost", &[variable("Weight", "NUMVALUE"), variable("Zone", "STRVALUE")]);
    let label = call("label", &[variable("Recipient", "STRVALUE"), variable("Express", "BOOLVALUE")]);
    let definition = format!(
        "<TRANSACTION><NAME>send</NAME>\
         <OPERATION><NAME>CXtsHeadOp</NAME><OPID>0</OPID><OPLINK><SRCOPID>0</SRCOPID><DSTOPID>1</DSTOPID></OPLINK></OPERATION>\
         <OPERATION><NAME>CXtsTailOp</NAME><OPID>1</OPID><JOIN>{}{}</JOIN></OPERATION></TRANSACTION>",
        argument("cost", "NUMVALUE", &cost),
        argument("label", "DOCVALUE", &label)
    );
    let definition = Text::parse(definition.as_bytes()).unwrap();
    let definition = Definition::parse_with(&definition, &libraries).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let output = |zone: &str| {
        let input = format!(
            "<Parcel><Weight>2.5</Weight><Zone>{zone}</Zone><Recipient>Müller &amp; Söhne</Recipient><Express>1</Express></Parcel>"
        );
        request_document(&definition, 1, &Input(Text::parse(input.as_bytes()).unwrap()))
    };
    assert_eq!(
        output("DE").unwrap().as_str(),
        r#"<Data xmlns="urn:hansa:data:1"><Variable name="cost">5.03</Variable><Variable name="label"><Label xmlns="" service="express"><Recipient>Müller &amp; Söhne</Recipient></Label></Variable></Data>"#
    );
    let fault = output("MARS").unwrap_err();
    assert!(fault.message.contains("freight.shipping_cost: nothing is sent to zone 'MARS'"), "{fault}");
    // The whole definition of the reference, with the library that it is written for.
    let priced = Text::parse(include_bytes!("../../docs/examples/price-parcel.xml")).unwrap();
    let priced = Definition::parse_with(&priced, &libraries).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let parcel = Text::parse(b"<Parcel><Weight>10</Weight><Zone>EU</Zone></Parcel>").unwrap();
    let asked = request_document(&priced, 1, &Input(parcel)).unwrap();
    assert!(asked.as_str().contains(r#"<Variable name="cost">16.00</Variable>"#), "{asked:?}");
    assert_eq!(definition.operations[1].id, 1);
    assert_eq!(definition.libraries.len(), 1);
}

// The page for authors says what is so.
#[test]
fn the_module_of_the_page_is_a_library() {
    let page = include_str!("../../docs/functions.md");
    let module = page.split_once("```wat\n").unwrap().1.split_once("```").unwrap().0;
    let library = Runtime::new().unwrap().load(&wat::parse_str(module).unwrap()).unwrap();
    assert_eq!(call(&library, "echo", &[text("hello")]), Ok(text("hello")));
}

// The helper for authors and the node agree on how values are written, also where no module can be built.
#[test]
fn the_crate_for_authors_writes_values_as_modules_do() {
    let answer = hansa_function::respond(&[], |_| Ok(hansa_function::Document("<a/>".to_owned())));
    let data: String = answer.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let constant = format!(
        "(data (i32.const 64) \"{data}\") {}",
        function("made()DOCVALUE", &format!("(i64.const {})", (64i64 << 32) | answer.len() as i64))
    );
    let value = call(&loaded(&constant), "made", &[]).unwrap();
    assert_eq!(value.value_type(), ValueType::Document);
}
