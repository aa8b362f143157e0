//! Certificates: the small authority that `hansa access certificate` keeps in a folder, and the name in a client's
//! certificate. Files are PEM; keys can be read by their owner alone.

use hansa_core::code::{Code, Fault};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};
use time::{Duration, OffsetDateTime};

/// How long an authority vouches.
const AUTHORITY_DAYS: i64 = 3_650;
/// How long a certificate holds.
const CERTIFICATE_DAYS: i64 = 825;
/// Clocks that are a little behind shall accept a certificate at once.
const BEFORE: Duration = Duration::hours(1);

/// What was made, by its files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// The authority's certificate, which was there or was written.
    pub authority: PathBuf,
}

/// Makes the authority in `folder`, if there is none, and certificates: one for a node with these host names or addresses,
/// one for each client. No file that exists is overwritten.
///
/// # Errors
/// [`Code::DataExists`] where a certificate is there already; [`Code::TlsFailed`] where a name or file is not as it should be.
pub fn make(folder: &Path, hosts: &[String], clients: &[String]) -> Result<Made, Fault> {
    std::fs::create_dir_all(folder).map_err(|error| failed(format!("{} cannot be made: {error}", folder.display())))?;
    let mut made = Made { authority: folder.join("authority.pem"), ..Made::default() };
    let wanted = hosts.first().map(|_| "node").into_iter().chain(clients.iter().map(String::as_str));
    for name in wanted {
        for file in [format!("{name}.pem"), format!("{name}.key")] {
            if folder.join(&file).exists() {
                return Err(Fault::new(Code::DataExists, format!("{} is there already", folder.join(file).display()))
                    .help("choose another folder, or remove the file if nobody uses it any more"));
            }
        }
    }
    let issuer = authority(folder, &mut made)?;
    if !hosts.is_empty() {
        let params = CertificateParams::new(hosts.to_vec()).map_err(wrong)?;
        issue(folder, "node", params, ExtendedKeyUsagePurpose::ServerAuth, &issuer, &mut made)?;
    }
    for client in clients {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, client);
        issue(folder, client, params, ExtendedKeyUsagePurpose::ClientAuth, &issuer, &mut made)?;
    }
    Ok(made)
}

fn authority(folder: &Path, made: &mut Made) -> Result<Issuer<'static, KeyPair>, Fault> {
    let key_file = folder.join("authority.key");
    if made.authority.exists() {
        let key = KeyPair::from_pem(&read(&key_file)?).map_err(wrong)?;
        return Issuer::from_ca_cert_pem(&read(&made.authority)?, key).map_err(wrong);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "hansa node authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    hold(&mut params, AUTHORITY_DAYS);
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = params.self_signed(&key).map_err(wrong)?;
    write(&key_file, &key.serialize_pem(), made)?;
    write(&made.authority.clone(), &certificate.pem(), made)?;
    Ok(Issuer::new(params, key))
}

fn issue(
    folder: &Path,
    name: &str,
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'static, KeyPair>,
    made: &mut Made,
) -> Result<(), Fault> {
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    hold(&mut params, CERTIFICATE_DAYS);
    let key = KeyPair::generate().map_err(wrong)?;
    let certificate = params.signed_by(&key, issuer).map_err(wrong)?;
    write(&folder.join(format!("{name}.key")), &key.serialize_pem(), made)?;
    write(&folder.join(format!("{name}.pem")), &certificate.pem(), made)
}

fn hold(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BEFORE;
    params.not_after = now + Duration::days(days);
}

fn read(file: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(file).map_err(|error| failed(format!("{} cannot be read: {error}", file.display())))
}

fn write(file: &Path, pem: &str, made: &mut Made) -> Result<(), Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut open| open.write_all(pem.as_bytes()))
        .map_err(|error| failed(format!("{} cannot be written: {error}", file.display())))?;
    made.written.push(file.to_owned());
    Ok(())
}

fn wrong(error: rcgen::Error) -> Fault {
    failed(format!("the certificate cannot be made: {error}"))
}

fn failed(message: String) -> Fault {
    Fault::new(Code::TlsFailed, message)
}

/// The name in a client's certificate, in DER: its first DNS name, else its common name.
pub fn name_in(certificate: &[u8]) -> Option<String> {
    use x509_parser::{extensions::GeneralName, prelude::FromDer as _};
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let dns = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
    });
    dns.or_else(|| certificate.subject().iter_common_name().next()?.as_str().ok().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_authority_is_made_once_and_no_certificate_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = make(folder.path(), &hosts, &["erp".to_owned()]).unwrap();
        assert_eq!(made.written.len(), 6, "authority, node and client, each with its key");
        for file in &made.written {
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} is its owner's alone", file.display());
        }
        let again = make(folder.path(), &[], &["credit".to_owned()]).unwrap();
        assert_eq!(again.written.len(), 2, "the authority goes on");
        assert_eq!(make(folder.path(), &[], &["erp".to_owned()]).unwrap_err().code, Code::DataExists);
    }
}
