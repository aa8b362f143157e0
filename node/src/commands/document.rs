//! Reads the documents that commands are given, from files and from standard input.

use hansa_core::{
    code::{Code, Fault},
    limit,
};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The text of a file, or of standard input, of at most a document's bytes. What it says is for the node to check.
pub fn read_document(path: &Path, malformed: Code) -> Result<String, Fault> {
    String::from_utf8(read_bytes(path, malformed)?)
        .map_err(|error| Fault::new(Code::DocumentEncoding, format!("'{}' is not UTF-8: {error}", path.display())))
}

/// The bytes of a file, or of standard input, of at most a document's number.
pub fn read_bytes(path: &Path, malformed: Code) -> Result<Vec<u8>, Fault> {
    let read = |source: &mut dyn Read| {
        let mut bytes = Vec::new();
        source.take(limit::DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = if path == Path::new("-") {
        read(&mut io::stdin().lock())
    } else {
        File::open(path).and_then(|mut file| read(&mut file))
    };
    let bytes = bytes.map_err(|error| {
        Fault::new(malformed, format!("'{}' cannot be read: {error}", path.display()))
            .help("name a file that can be read")
    })?;
    if bytes.len() > limit::DOCUMENT_BYTES_MAX {
        let message = format!("'{}' has more than {} bytes", path.display(), limit::DOCUMENT_BYTES_MAX);
        return Err(Fault::new(Code::DocumentTooLarge, message));
    }
    Ok(bytes)
}
