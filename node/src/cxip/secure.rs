//! TLS of the CXIP listeners (T14): the node's certificate, and the authority of its clients' certificates. A connection is
//! secured before its first message; what comes over it this does not know.

use crate::{access::certificates, config::Cxip};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use hansa_sdk::cxip::Stream;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor, TlsStream,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    },
};

/// How the connections of a listener begin.
#[derive(Clone)]
pub enum Security {
    /// As they are.
    None,
    /// With a TLS handshake.
    Tls(TlsAcceptor),
}

/// A connection that may be served.
pub struct Secured {
    /// What carries it.
    pub stream: Stream,
    /// The name in the certificate that the other side has proved.
    pub certified: Option<String>,
}

/// Why a connection is not served.
pub enum Unsecured {
    /// It speaks CXIP without TLS to a port that wants it: told in plain text.
    Plain(TcpStream, Fault),
    /// It is over.
    Over(String),
}

impl Security {
    /// What the configuration says.
    ///
    /// # Errors
    /// [`Code::TlsFailed`]: a file cannot be read, or is none.
    pub fn configured(cxip: &Cxip) -> Result<Self, Fault> {
        let (Some(certificate), Some(key)) = (cxip.tls_certificate(), cxip.tls_key()) else { return Ok(Self::None) };
        let chain = certificates_in(certificate, "cxip.tls_certificate")?;
        let key = PrivateKeyDer::from_pem_slice(&read(key, "cxip.tls_key")?)
            .map_err(|_| failed(format!("{} (cxip.tls_key) holds no private key in PEM", key.display())))?;
        let provider = Arc::new(ring::default_provider());
        let clients: Arc<dyn ClientCertVerifier> = match cxip.client_authority() {
            None => Arc::new(NoClientAuth),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates_in(authority, "cxip.client_authority")? {
                    roots.add(certificate).map_err(|error| {
                        failed(format!("{} (cxip.client_authority) is refused: {error}", authority.display()))
                    })?;
                }
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    // Who has no certificate may still have a password.
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| failed(format!("cxip.client_authority cannot be used: {error}")))?
            }
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(|error| failed(format!("cxip.tls_certificate and cxip.tls_key cannot be used: {error}")))?;
        Ok(Self::Tls(TlsAcceptor::from(Arc::new(config))))
    }

    /// Secure a connection that was accepted.
    pub async fn secure(&self, stream: TcpStream) -> Result<Secured, Unsecured> {
        let Self::Tls(acceptor) = self else { return Ok(Secured { stream: stream.into(), certified: None }) };
        let patience = Duration::from_millis(limit::CXIP_CONNECT_MS_MAX);
        let shaken = tokio::time::timeout(patience, async {
            if speaks_plainly(&stream).await {
                let fault = failed("this port wants TLS, and the connection began without".to_owned())
                    .help("connect with TLS: the SDK's `tls`, or whatever your client calls it");
                return Err(Unsecured::Plain(stream, fault));
            }
            acceptor.accept(stream).await.map_err(|error| Unsecured::Over(error.to_string()))
        });
        let stream = shaken.await.unwrap_or_else(|_| Err(Unsecured::Over("no handshake came in time".to_owned())))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certified = certificate.and_then(|certificate| certificates::name_in(certificate));
        Ok(Secured { stream: TlsStream::from(stream).into(), certified })
    }
}

/// Whether a connection begins as CXIP does, and not as TLS does.
async fn speaks_plainly(stream: &TcpStream) -> bool {
    let mut first = [0; 1];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0] == b'C'
}

fn certificates_in(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file, key)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(failed(format!("{} ({key}) holds no certificate in PEM", file.display()))),
    }
}

fn read(file: &Path, key: &str) -> Result<Vec<u8>, Fault> {
    std::fs::read(file).map_err(|error| failed(format!("{} ({key}) cannot be read: {error}", file.display())))
}

fn failed(message: String) -> Fault {
    Fault::new(Code::TlsFailed, message)
}
