//! What carries a connection. Node, services and clients drive a [`super::Wire`] over one of these and need not know which.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

/// A stream of bytes, both ways.
#[derive(Debug)]
pub enum Stream {
    /// TCP as it is.
    Plain(TcpStream),
    /// TCP within TLS.
    Secured(Box<TlsStream<TcpStream>>),
    /// One end of a pipe in memory, at whose other end something else carries the bytes on.
    Piped(DuplexStream),
}

/// Do the same with whatever carries it.
macro_rules! each {
    ($stream:expr, $carrier:ident => $act:expr) => {
        match $stream.get_mut() {
            Stream::Plain($carrier) => $act,
            Stream::Secured($carrier) => $act,
            Stream::Piped($carrier) => $act,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, carrier => Pin::new(carrier).poll_read(context, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, carrier => Pin::new(carrier).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, carrier => Pin::new(carrier).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, carrier => Pin::new(carrier).poll_shutdown(context))
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        Self::Secured(Box::new(stream))
    }
}

impl From<DuplexStream> for Stream {
    fn from(stream: DuplexStream) -> Self {
        Self::Piped(stream)
    }
}
