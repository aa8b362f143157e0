//! TLS on the way to a node (T14): which authority vouches for it, and the certificate that its user may show. Service and
//! client hand it to [`crate::reach`]; what goes over the connection it does not know.

use crate::cxip::Stream;
use hansa_core::code::{Code, Fault};
use std::{fmt, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

/// How the way to a node is secured.
///
/// ```no_run
/// use hansa_sdk::{Client, Tls};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::trusting(&std::fs::read("authority.pem")?)?
///     .presenting(&std::fs::read("erp.pem")?, &std::fs::read("erp.key")?)?;
/// let client = Client::named("erp").tls(tls).connect("node.acme.example:4000").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    authorities: Arc<RootCertStore>,
    server_name: Option<ServerName<'static>>,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Trust nodes whose certificates one of these authorities has signed; certificates in PEM.
    ///
    /// # Errors
    /// [`Code::TlsFailed`]: there is no certificate in it, or one that is none.
    pub fn trusting(authorities: &[u8]) -> Result<Self, Fault> {
        let mut store = RootCertStore::empty();
        for certificate in certificates(authorities)? {
            store
                .add(certificate)
                .map_err(|error| failed(format!("an authority's certificate is refused: {error}")))?;
        }
        let authorities = Arc::new(store);
        let config = Arc::new(builder(&authorities)?.with_no_client_auth());
        Ok(Self { authorities, server_name: None, config })
    }

    /// Show the node this certificate (with those that lead to its authority, in PEM): the name in it is the account.
    ///
    /// # Errors
    /// [`Code::TlsFailed`]: certificate or key are none, or do not belong together.
    pub fn presenting(mut self, certificate: &[u8], key: &[u8]) -> Result<Self, Fault> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| failed("there is no private key in PEM"))?;
        let config = builder(&self.authorities)?
            .with_client_auth_cert(chain, key)
            .map_err(|error| failed(format!("certificate and key cannot be used: {error}")))?;
        self.config = Arc::new(config);
        Ok(self)
    }

    /// The name that the node's certificate must have; that in the address unless said otherwise.
    ///
    /// # Errors
    /// [`Code::TlsFailed`]: it is no name.
    pub fn server_name(mut self, name: &str) -> Result<Self, Fault> {
        self.server_name = Some(name_of(name)?);
        Ok(self)
    }

    /// Shake hands with whoever listens at `address`.
    pub(crate) async fn secure(&self, address: &str, stream: TcpStream) -> Result<Stream, Fault> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(host_of(address))?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let secured = connector.connect(name, stream).await.map_err(|error| {
            let speaks_none = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match speaks_none {
                Some(rustls::Error::InvalidMessage(_)) => {
                    failed(format!("whoever listens at {address} does not speak TLS"))
                        .help("set cxip.tls_certificate and cxip.tls_key at the node, or connect without TLS")
                }
                Some(inner) => failed(format!("no secure connection with {address}: {inner}"))
                    .help("check the authority, the certificates and the node's name on both sides"),
                // The connection broke on the way: no fault of anybody's certificate.
                None => Fault::new(Code::NodeStopped, format!("no node answers at {address}: {error}")),
            }
        })?;
        Ok(tokio_rustls::TlsStream::from(secured).into())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

fn builder(
    authorities: &Arc<RootCertStore>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Fault> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    Ok(builder.with_root_certificates(Arc::clone(authorities)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(failed("there is no certificate in PEM")),
        Err(error) => Err(failed(format!("this is no certificate in PEM: {error}"))),
    }
}

/// The host in `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn name_of(name: &str) -> Result<ServerName<'static>, Fault> {
    let owned = ServerName::try_from(name.to_owned());
    owned.map_err(|_| failed(format!("'{}' is no name of a server", name.chars().take(80).collect::<String>())))
}

fn failed(message: impl Into<String>) -> Fault {
    Fault::new(Code::TlsFailed, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_no_key_or_no_name_is_refused() {
        for nonsense in [&b""[..], b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(Tls::trusting(nonsense).unwrap_err().code, Code::TlsFailed);
        }
        assert!(name_of("two words").is_err());
    }

    #[test]
    fn the_name_to_expect_is_the_host_of_the_address() {
        assert_eq!(host_of("node.acme.example:4000"), "node.acme.example");
        assert_eq!(host_of("[::1]:4000"), "::1");
        assert_eq!(host_of("127.0.0.1:4000"), "127.0.0.1");
    }
}
