//! TLS towards the brokers: building the client configuration from PEM files.
//!
//! The application speaks plaintext on loopback; real clusters do not. Server name indication and verification use each
//! broker's advertised name. Must not read any file after start.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

/// PEM files for the connections to the brokers.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsFiles<'a> {
    /// Certificate authorities; the system's where none is given.
    pub ca_file: Option<&'a Path>,
    /// Client certificate chain, leaf first.
    pub cert_file: Option<&'a Path>,
    /// Its private key (PKCS#8, PKCS#1 or SEC1).
    pub key_file: Option<&'a Path>,
    /// Accept any certificate. For a laboratory.
    pub insecure_skip_verify: bool,
}

/// What is wrong with the TLS configuration: says which file and what to check.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// Builds the client configuration.
///
/// # Errors
/// A file that cannot be read or holds no usable PEM block, or no certificate authority at all.
pub fn client_config(files: TlsFiles<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError(format!("tls: {e}")))?;
    let builder = if files.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        builder.with_root_certificates(roots(files.ca_file)?)
    };
    let config = match (files.cert_file, files.key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| {
                TlsError(format!(
                    "{}: no private key in PEM form: {e}",
                    key.display()
                ))
            })?;
            builder
                .with_client_auth_cert(certificates(cert)?, key_der)
                .map_err(|e| {
                    TlsError(format!(
                        "{}: certificate and key do not fit: {e}",
                        cert.display()
                    ))
                })?
        }
        (Some(_), None) => return Err(TlsError("cert_file is given without key_file".into())),
        (None, Some(_)) => return Err(TlsError("key_file is given without cert_file".into())),
    };
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|e| {
            TlsError(format!(
                "{}: no certificate in PEM form: {e}",
                file.display()
            ))
        })?;
    if all.is_empty() {
        return Err(TlsError(format!(
            "{}: holds no certificate",
            file.display()
        )));
    }
    Ok(all)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(file) = ca_file {
        for certificate in certificates(file)? {
            store.add(certificate).map_err(|e| {
                TlsError(format!(
                    "{}: not a certificate authority: {e}",
                    file.display()
                ))
            })?;
        }
        return Ok(store);
    }
    let (_, _unusable) =
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(TlsError(
            "the system has no certificate authorities; give kafka.tls.ca_file".into(),
        ));
    }
    Ok(store)
}

/// Accepts any server certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
