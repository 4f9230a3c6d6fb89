//! TLS towards the brokers: the client configuration, from certificates already read.
//!
//! The application speaks plaintext on loopback; real clusters do not. Server name indication and verification use each
//! broker's advertised name. Must not read the user's files: the configuration does, so that it can name the key at fault.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// What the connections to the brokers are verified with and present.
#[derive(Debug, Default)]
pub struct TlsMaterial {
    /// Certificate authorities; the system's where none are given.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// Client certificate chain, leaf first, and its key.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Accept any certificate. For a laboratory.
    pub insecure_skip_verify: bool,
}

/// What is wrong with the TLS material.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kafka.tls: {}", self.0)
    }
}

impl std::error::Error for TlsError {}

impl From<rustls::Error> for TlsError {
    fn from(fault: rustls::Error) -> Self {
        Self(fault.to_string())
    }
}

/// Builds the client configuration.
///
/// # Errors
/// Certificates that cannot be used, or no certificate authority at all.
pub fn client_config(material: TlsMaterial) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if material.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
    } else {
        builder.with_root_certificates(roots(material.roots)?)
    };
    let config = match material.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    Ok(Arc::new(config))
}

fn roots(given: Option<Vec<CertificateDer<'static>>>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(given) = given {
        for certificate in given {
            store.add(certificate)?;
        }
        return Ok(store);
    }
    // What the system trusts may hold certificates rustls refuses; the others still serve.
    let (_, _unusable) =
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        return Err(TlsError(
            "the system has no certificate authorities; give ca_file".into(),
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

/// Whether TLS, not the socket, failed. Under TLS 1.3 a refused client certificate shows up only after the handshake.
pub(crate) fn is_tls_fault(fault: &std::io::Error) -> bool {
    fault
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}
