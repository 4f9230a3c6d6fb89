//! `kafka.tls:` - TLS towards the brokers.
//!
//! Files are read and parsed here, so that a wrong one stops the start and not the first connection. Must not build a TLS
//! session or decide how certificates are verified; the proxy does, from what stands here.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{RootCertStore, crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};

use super::section::{Section, boolean, text};

/// Largest certificate or key file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The `kafka.tls` section; its presence switches TLS on.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// Where `roots` came from.
    pub ca_file: Option<PathBuf>,
    /// Certificates that may sign the brokers'; `None` = those of the system.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// What we present to brokers that ask (mTLS).
    pub identity: Option<Identity>,
    /// Name to expect in the brokers' certificates; `None` = the name each broker is dialled by.
    pub server_name: Option<ServerName<'static>>,
    /// Accept any certificate. For a laptop only.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Where `chain` came from.
    pub cert_file: PathBuf,
    /// Where `key` came from.
    pub key_file: PathBuf,
    /// Our certificate first, then those that lead to a root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key; never printed, not even by `Debug`.
    pub key: Arc<PrivateKeyDer<'static>>,
}

impl TlsConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        if !section.present() {
            return None;
        }
        let ca = section.optional(
            "ca_file",
            text(|path| roots(Path::new(path)).map(|r| (path.into(), r))),
        );
        let (ca_file, roots) = ca.unzip();
        Some(Self {
            ca_file,
            roots,
            identity: identity(section),
            server_name: section.optional("server_name", text(server_name)),
            insecure_skip_verify: section.or("insecure_skip_verify", false, boolean),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let identity = self.identity.as_ref();
        json!({
            "ca_file": self.ca_file,
            "cert_file": identity.map(|i| &i.cert_file),
            "key_file": identity.map(|i| &i.key_file),
            "server_name": self.server_name.as_ref().map(|name| name.to_str()),
            "insecure_skip_verify": self.insecure_skip_verify,
        })
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| {
        "is not a name a certificate can carry, allowed: a DNS name or an IP address".to_owned()
    })
}

fn identity(section: &Section<'_>) -> Option<Identity> {
    let path = |path: &str| Ok::<PathBuf, String>(path.into());
    let cert_file = section.optional("cert_file", text(path));
    let key_file = section.optional("key_file", text(path));
    let chain = section.optional("cert_file", text(|path| certificates(Path::new(path))));
    let key = section.optional("key_file", text(|path| private_key(Path::new(path))));
    let (cert_file, key_file) = match (cert_file, key_file) {
        (None, None) => return None,
        (Some(cert_file), Some(key_file)) => (cert_file, key_file),
        (Some(_), None) => {
            section.fault(
                "cert_file",
                "stands without key_file, allowed: both or neither",
            );
            return None;
        }
        (None, Some(_)) => {
            section.fault(
                "key_file",
                "stands without cert_file, allowed: both or neither",
            );
            return None;
        }
    };
    let (chain, key) = (chain?, key?);
    if let Err(problem) = belong_together(&chain, &key) {
        section.fault("key_file", problem);
        return None;
    }
    Some(Identity {
        cert_file,
        key_file,
        chain,
        key: Arc::new(key),
    })
}

/// Reads at most [`FILE_BYTES_MAX`] bytes.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is too large, allowed: {FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| format!("is not valid PEM: {error}"))?;
    if found.is_empty() {
        return Err("holds no certificate, allowed: PEM with BEGIN CERTIFICATE".to_owned());
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = certificates(path)?;
    let mut store = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        store
            .add(certificate.clone())
            .map_err(|error| format!("has a wrong certificate (number {}): {error}", index + 1))?;
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_file(path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        "holds no private key, allowed: unencrypted PEM (PKCS#8, PKCS#1 or SEC1)".to_owned()
    })?;
    ring::sign::any_supported_type(&key).map_err(|_| {
        "holds a key of an unknown kind, allowed: RSA, ECDSA P-256 or P-384, Ed25519".to_owned()
    })?;
    Ok(key)
}

fn belong_together(
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), String> {
    let signer = ring::sign::any_supported_type(key).map_err(|error| error.to_string())?;
    match CertifiedKey::new(chain.to_vec(), signer).keys_match() {
        Ok(()) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("is not the key of the first certificate in cert_file, allowed: a pair".to_owned())
        }
        Err(error) => Err(format!("cannot be used with cert_file: {error}")),
    }
}
