//! Running libraries: compiled when first wanted, each call in an instance of its own, within fuel, memory, tables and stack.
//!
//! A fresh instance for each call means that a result depends on the arguments alone: nothing that a call leaves behind is seen by the
//! next. Fuel is what bounds time, for unlike a clock it runs out at the same step everywhere; operations on many bytes cost as many.

use crate::{encoding, reading};
use hansa_core::{
    code::{Code, Fault},
    ident::LibraryHash,
    limit,
    transaction::{Library, Load, Loader, Signature, Value},
};
use lru::LruCache;
use std::{
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
};
use wasmtime::{
    Config, Engine, Instance, Module, OperatorCost, OptLevel, Store, StoreLimits, StoreLimitsBuilder, Trap,
    VariableOperatorCost,
};

/// A module, or why it cannot be compiled; made once.
type Compiled = Arc<OnceLock<Result<Module, String>>>;

/// What runs the libraries of one process. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

struct Shared {
    engine: Engine,
    /// The modules that were used last; the others are compiled again when they are wanted.
    compiled: Mutex<LruCache<LibraryHash, Compiled>>,
    /// The thread that compiles what was loaded, so that the first call need not wait for all of it.
    compiler: SyncSender<Arc<Loaded>>,
}

/// A library that was loaded.
struct Loaded {
    hash: LibraryHash,
    functions: Vec<Signature>,
    bytes: Arc<[u8]>,
    shared: Arc<Shared>,
}

impl Runtime {
    /// A runtime with nothing loaded.
    ///
    /// # Errors
    /// [`Code::Internal`] where this machine cannot run WebAssembly.
    pub fn new() -> Result<Self, Fault> {
        let cannot =
            |why: String| Fault::new(Code::Internal, format!("libraries cannot be run on this machine: {why}"));
        let mut config = Config::new();
        config
            .wasm_features(reading::FEATURES.complement(), false)
            .wasm_features(reading::FEATURES, true)
            .consume_fuel(true)
            .operator_cost(operator_cost())
            .cranelift_nan_canonicalization(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(limit::LIBRARY_STACK_BYTES_MAX);
        let engine = Engine::new(&config).map_err(|error| cannot(error.to_string()))?;
        let kept = NonZeroUsize::new(limit::LIBRARIES_COMPILED_MAX).unwrap_or(NonZeroUsize::MIN);
        let (compiler, wanted) = sync_channel::<Arc<Loaded>>(limit::LIBRARIES_MAX);
        std::thread::Builder::new()
            .name("hansa-libraries".to_owned())
            .spawn(move || wanted.into_iter().for_each(|library| drop(library.module())))
            .map_err(|error| cannot(error.to_string()))?;
        Ok(Self(Arc::new(Shared { engine, compiled: Mutex::new(LruCache::new(kept)), compiler })))
    }

    /// As machines are given it.
    #[must_use]
    pub fn loader(&self) -> Loader {
        Loader::new(Arc::new(self.clone()))
    }
}

impl Load for Runtime {
    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Library>, Fault> {
        if bytes.len() > limit::LIBRARY_BYTES_MAX {
            let (given, most) = (bytes.len(), limit::LIBRARY_BYTES_MAX);
            return Err(Fault::new(
                Code::LibraryInvalid,
                format!("the module has {given} bytes, and the limit is {most}"),
            )
            .help("build it for release, and strip it"));
        }
        let library = Arc::new(Loaded {
            hash: LibraryHash(*blake3::hash(bytes).as_bytes()),
            functions: reading::functions(bytes)?,
            bytes: bytes.into(),
            shared: Arc::clone(&self.0),
        });
        // Where so many wait already, the first call compiles it.
        let _ = self.0.compiler.try_send(Arc::clone(&library));
        Ok(library)
    }
}

/// What operations cost that take longer than one step, whatever they are given: those that leave the module's own code.
fn operator_cost() -> OperatorCost {
    OperatorCost {
        MemoryGrow: 255,
        MemoryCopy: 20,
        MemoryFill: 20,
        MemoryInit: 20,
        DataDrop: 20,
        TableCopy: 20,
        TableInit: 20,
        ElemDrop: 20,
        variable: VariableOperatorCost { memory_grow_per_page: 255, ..VariableOperatorCost::new() },
        ..OperatorCost::default()
    }
}

impl Loaded {
    fn module(&self) -> Result<Module, String> {
        let compiled = {
            let mut compiled = self.shared.compiled.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(compiled.get_or_insert(self.hash, Compiled::default))
        };
        // Not under the lock: others go on meanwhile, and whoever wants the same waits for it.
        compiled
            .get_or_init(|| {
                Module::from_binary(&self.shared.engine, &self.bytes)
                    .map_err(|error| format!("it cannot be compiled: {error}"))
            })
            .clone()
    }

    fn run(&self, store: &mut Store<StoreLimits>, signature: &Signature, arguments: &[Value]) -> Result<Value, String> {
        let module = self.module()?;
        let instance = Instance::new(&mut *store, &module, &[]).map_err(|error| failed(&error))?;
        let absent = |name: &str| format!("the module has no export '{name}' that can be used");
        let memory = instance.get_memory(&mut *store, reading::MEMORY).ok_or_else(|| absent(reading::MEMORY))?;
        let allocate = instance
            .get_typed_func::<u32, u32>(&mut *store, reading::ALLOCATE)
            .map_err(|_| absent(reading::ALLOCATE))?;
        let name = signature.to_string();
        let function = instance.get_typed_func::<(u32, u32), u64>(&mut *store, &name).map_err(|_| absent(&name))?;

        let given = encoding::encode(arguments);
        let length = u32::try_from(given.len()).map_err(|_| "its arguments are too long".to_owned())?;
        let at = allocate.call(&mut *store, length).map_err(|error| failed(&error))?;
        memory
            .write(&mut *store, at as usize, &given)
            .map_err(|_| format!("{} made no room for {length} bytes of arguments", reading::ALLOCATE))?;
        let returned = function.call(&mut *store, (at, length)).map_err(|error| failed(&error))?;
        let (at, length) = ((returned >> 32) as usize, (returned & 0xffff_ffff) as usize);
        let result = at
            .checked_add(length)
            .and_then(|end| memory.data(&*store).get(at..end))
            .ok_or_else(|| format!("it returned {length} bytes at {at}, which are not in its memory"))?;
        encoding::decode(result, signature.makes)
    }
}

/// Why a call did not come to its end.
fn failed(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => "it did not come to an end within the steps that it has".to_owned(),
        Some(Trap::UnreachableCodeReached) => "it gave up, as a panic does".to_owned(),
        Some(Trap::StackOverflow) => format!("it used up its stack of {} bytes", limit::LIBRARY_STACK_BYTES_MAX),
        Some(trap) => format!("it was stopped: {trap}"),
        None => format!("it cannot be run: {error}"),
    }
}

impl Library for Loaded {
    fn hash(&self) -> LibraryHash {
        self.hash
    }

    fn functions(&self) -> &[Signature] {
        &self.functions
    }

    fn call(&self, function: usize, arguments: &[Value], fuel: &mut u64) -> Result<Value, String> {
        let signature = self.functions.get(function).ok_or_else(|| "the function is not there".to_owned())?;
        let limits = StoreLimitsBuilder::new()
            .memory_size(limit::LIBRARY_MEMORY_BYTES_MAX)
            .table_elements(limit::LIBRARY_TABLE_MAX)
            .instances(1)
            .memories(1)
            .tables(8)
            .build();
        let mut store = Store::new(&self.shared.engine, limits);
        store.limiter(|limits| limits);
        let allowed = (*fuel).min(limit::LIBRARY_FUEL_MAX);
        store.set_fuel(allowed).map_err(|error| error.to_string())?;
        let result = self.run(&mut store, signature, arguments);
        let left = store.get_fuel().unwrap_or_default();
        *fuel = fuel.saturating_sub(allowed.saturating_sub(left));
        result
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Runtime")
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Loaded({})", self.hash.short())
    }
}
