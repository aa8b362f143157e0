//! Modules that somebody wrote to do harm (T9): each is refused when it is loaded, or stopped when it is called, with its reason, and the
//! process stays well. What goes wrong in a call is a fault of the expression with the code `expression-failed`.

use hansa_core::{
    code::{Code, Fault},
    limit,
    transaction::{Load, Value},
};
use hansa_library::Runtime;

const ALLOCATE: &str = r#"(func (export "hansa_allocate") (param i32) (result i32) (i32.const 8))"#;

/// The function that is called.
fn function(body: &str) -> String {
    format!(r#"(func (export "f()NUMVALUE") (param i32 i32) (result i64) {body})"#)
}

/// A module with a memory of a page, room for arguments, and this.
fn module(rest: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(module (memory (export "memory") 1) {ALLOCATE} {rest})"#)).unwrap()
}

fn refused(bytes: &[u8]) -> Fault {
    let fault = Runtime::new().unwrap().load(bytes).expect_err("it should have been refused");
    assert_eq!(fault.code, Code::LibraryInvalid);
    assert!(fault.message.len() < 1_000, "{fault}");
    assert!(!fault.message.contains(char::is_control), "a terminal would obey it: {:?}", fault.message);
    fault
}

/// What comes of the call, and the fuel that it took.
fn called(bytes: &[u8]) -> (Result<Value, String>, u64) {
    let library = Runtime::new().unwrap().load(bytes).unwrap_or_else(|fault| panic!("{fault}"));
    let mut fuel = limit::EVALUATION_FUEL_MAX;
    let value = library.call(0, &[], &mut fuel);
    (value, limit::EVALUATION_FUEL_MAX - fuel)
}

fn many(count: usize, each: impl Fn(usize) -> String) -> String {
    (0..count).map(each).collect()
}

#[test]
fn a_module_that_could_not_be_called_is_refused_when_it_is_loaded() {
    let good = function("(i64.const 0)");
    let with_memory = |pages: u64| {
        wat::parse_str(format!(r#"(module (memory (export "memory") {pages}) {ALLOCATE} {good})"#)).unwrap()
    };
    let pages = (limit::LIBRARY_MEMORY_BYTES_MAX / 65_536) as u64;
    for (bytes, words) in [
        (with_memory(65_536), "begins with 65536 pages of memory, and a call has 1024"),
        (with_memory(pages + 1), "begins with 1025 pages"),
        (module(&format!("{good} (table {} funcref)", limit::LIBRARY_TABLE_MAX + 1)), "a table of 100001 elements"),
        (module(&format!("{good} (table 10000000 funcref)")), "a table of 10000000 elements"),
        (module(&format!("{good} (table 1 funcref) (table 1 funcref)")), "multiple tables"),
        (
            wat::parse_str(format!("(module (import \"env\" \"memory\" (memory 1)) {ALLOCATE} {good})")).unwrap(),
            "env.memory",
        ),
    ] {
        let fault = refused(&bytes);
        assert!(fault.message.contains(words), "{words}: {fault}");
    }
    assert!(called(&with_memory(pages)).0.unwrap_err().contains("too short"), "the limit itself is allowed");
}

#[test]
fn a_module_with_too_much_of_anything_is_refused() {
    let good = function("(i64.const 0)");
    let count = limit::LIBRARY_ITEMS_MAX;
    let exports = format!("(func $g) {}", many(count, |number| format!("(export \"e{number}\" (func $g))")));
    let callable = many(limit::LIBRARY_FUNCTIONS_MAX, |number| good.replace("f()", &format!("f{number}()")));
    let types = many(count, |number| format!("(type (func (param {})))", "i32 ".repeat(number % 50)));
    let imports = many(count, |number| format!("(import \"m\" \"{}{number}\" (func))", "x".repeat(50)));
    for (bytes, words) in [
        (module(&format!("{good} {exports}")), "20003 exports, and the limit is 20000"),
        (module(&format!("{good} {callable}")), "exports 257 functions, and a library has 1 to 256"),
        (module(&format!("{good} {types}")), "types, and the limit is 20000"),
        (module(&format!("{good} {}", "(func)".repeat(count))), "20002 functions, and the limit is 20000"),
        (module(&format!("{good} {}", "(global i32 (i32.const 0))".repeat(count + 1))), "20001 global variables"),
        (wat::parse_str(format!("(module {imports})")).unwrap(), "and a library gets nothing"),
        (
            module(&function(&format!("{} (i64.const 0)", "(drop (i32.const 1))".repeat(90_000)))),
            "bytes, and the limit is 262144",
        ),
        (module(&function(&format!("(local {}) (i64.const 0)", "i64 ".repeat(4_999)))), "5001 locals"),
    ] {
        let fault = refused(&bytes);
        assert!(fault.message.contains(words), "{words}: {fault}");
    }
}

#[test]
fn names_in_a_module_are_shown_in_part_and_without_what_a_terminal_would_obey() {
    let long = "x".repeat(99_000);
    let import = |name: &str| wat::parse_str(format!("(module (import \"m\\1b[31m\" \"{name}\" (func)))")).unwrap();
    assert!(refused(&import(&long)).message.contains("xx…"));
    assert!(refused(&import("\\00\\0a\\1b]0;")).message.contains(r"m\u{1b}[31m.\0\n"));
    refused(&module(&function("(i64.const 0)").replace("f()", &format!("{long}("))));
    refused(&module(&function("(i64.const 0)").replace("f()", "f(\\1b[31m)")));
}

// Found by measuring: such a module of two kilobytes took minutes to compile, and one of a few more took hours.
#[test]
fn a_module_that_would_take_long_to_compile_is_refused() {
    let nested = |locals: usize, loops: usize| {
        let sets =
            many(locals, |number| format!("(local.set {0} (i64.add (local.get {0}) (i64.const 1)))", number + 2));
        let (begin, end) = ("(loop ".repeat(loops), "(br_if 0 (local.get 0)))".repeat(loops));
        module(&function(&format!("(local {}) {begin} {sets} {end} (i64.const 0)", "i64 ".repeat(locals))))
    };
    let fault = refused(&nested(1_000, 300));
    assert!(fault.message.contains("too many locals through loops and blocks"), "{fault}");
    refused(&nested(4_990, 10));
    let one = function(&format!("(local {}) {} (i64.const 0)", "i64 ".repeat(400), "(block)".repeat(10_000)));
    let all = many(13, |number| one.replace("f()", &format!("f{number}()")));
    assert!(refused(&module(&all)).message.contains("together"));
    // What compilers make of people's programs is far below.
    assert!(called(&nested(10, 4)).0.is_err());
}

#[test]
fn a_call_is_stopped_wherever_it_does_not_come_back() {
    const FOREVER: &str = "(loop $again (br $again)) unreachable";
    let good = function("(i64.const 0)");
    let again = |body: &str| module(&function(&format!("(loop $again {body} (br $again)) unreachable")));
    let spins_in_start = format!("{good} (func $start (loop $again (br $again))) (start $start)");
    let spins_in_allocate = format!(
        r#"(module (memory (export "memory") 1) {good}
           (func (export "hansa_allocate") (param i32) (result i32) {FOREVER}))"#
    );
    let tables = |body: &str| format!("(table 90000 funcref) (func $g) (elem $e func {}) {body}", "$g ".repeat(50_000));
    for bytes in [
        module(&spins_in_start),
        wat::parse_str(spins_in_allocate).unwrap(),
        // What leaves the module's own code costs more than a step, also where it does nothing or fails.
        again("(drop (memory.grow (i32.const 60000)))"),
        again("(drop (memory.grow (i32.const 1)))"),
        again("(drop (memory.grow (i32.const 0)))"),
        again("(memory.fill (i32.const 0) (i32.const 1) (i32.const 0))"),
        again("(memory.copy (i32.const 0) (i32.const 1) (i32.const 60000))"),
        module(&tables(&function(
            "(loop $again (table.init $e (i32.const 0) (i32.const 0) (i32.const 50000)) (br $again)) unreachable",
        ))),
        module(&tables(&function(
            "(loop $again (table.copy (i32.const 0) (i32.const 1) (i32.const 80000)) (br $again)) unreachable",
        ))),
    ] {
        let (value, fuel) = called(&bytes);
        assert!(value.unwrap_err().contains("within the steps that it has"));
        assert_eq!(fuel, limit::LIBRARY_FUEL_MAX);
    }
}

// DESIGN invariant 6: what takes the process long costs many steps. With one step each, this was a million times as many.
#[test]
fn growing_memory_costs_steps_for_each_attempt_and_each_page() {
    let grow =
        |pages: u32| called(&module(&function(&format!("(drop (memory.grow (i32.const {pages}))) (i64.const 0)")))).1;
    assert!(grow(0) >= 255);
    assert!(grow(100) >= grow(0) + 25_000);
    assert!(grow(60_000) >= grow(0) + 15_000_000, "also where there is no room for them");
}

#[test]
fn whatever_else_a_call_does_is_a_reason_and_the_next_one_works() {
    let good = function("(i64.const 0)");
    let recursion =
        "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (call $deep (local.get 0))))";
    let locals = many(2_000, |number| format!("(local.set {number} (i64.const {number}))"));
    let sum = many(2_000, |number| format!("(local.get {number}) i64.add "));
    let wide = format!("(func $deep (result i64) (local {}) {locals} (call $deep) {sum})", "i64 ".repeat(2_000));
    let wild = format!(
        r#"(module (memory (export "memory") 1) {good}
           (func (export "hansa_allocate") (param i32) (result i32) (i32.const -1)))"#
    );
    for (bytes, words) in [
        (module(&format!("{good} (func $start unreachable) (start $start)")), "it gave up, as a panic does"),
        (module(&format!("{recursion} {}", function("(call $deep (i64.const 1))"))), "used up its stack"),
        (module(&format!("{wide} {}", function("(call $deep)"))), "used up its stack"),
        (module(&format!("{good} (func $start (call $start)) (start $start)")), "used up its stack"),
        // A result of 4 GiB, one that begins within the memory and ends outside, one at the very end, one that is too long.
        (
            module(&function("(i64.const 0x00000000_ffffffff)")),
            "returned 4294967295 bytes at 0, which are not in its memory",
        ),
        (module(&function("(i64.const 0x0000fff0_00000011)")), "not in its memory"),
        (module(&function("(i64.const 0xffffffff_ffffffff)")), "not in its memory"),
        (module(&function("(i64.const 0x00010000_00000000)")), "too short"),
        (module(&format!("{good} (data (i32.const 99999999) \"x\")")), "out of bounds"),
        (module(&format!("{good} (table 1 funcref) (func $g) (elem (i32.const 9) $g)")), "out of bounds"),
        (
            module(&format!("(table 9 funcref) {}", function("(call_indirect (result i64) (i32.const 3))"))),
            "it was stopped",
        ),
        (wat::parse_str(wild).unwrap(), "made no room for 0 bytes"),
    ] {
        let message = called(&bytes).0.unwrap_err();
        assert!(message.contains(words), "{words}: {message}");
        assert!(message.len() < 1_000 && !message.contains(char::is_control), "{message:?}");
    }
    let fine = r#"(data (i32.const 64) "N\01\00\00\007")"#.to_owned() + &function("(i64.const 0x00000040_00000006)");
    assert_eq!(called(&module(&fine)).0.unwrap().to_string(), "7");
}
