//! A certificate authority for one test, with a server and a client certificate, as PEM files.
//!
//! Brokers since 2.7 read PEM stores (KIP-651), so no Java key store is made.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::cache::write;

/// Paths of the PEM files.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) server_cert: PathBuf,
    pub(crate) server_key: PathBuf,
    /// Key and certificate in one file, the form of a broker's key store.
    pub(crate) server_store: PathBuf,
    pub(crate) client_cert: PathBuf,
    pub(crate) client_key: PathBuf,
}

impl Certificates {
    /// Makes everything in `directory`; the server is `localhost` and `127.0.0.1`.
    #[track_caller]
    pub(crate) fn create(directory: &Path) -> Self {
        Self::try_create(directory)
            .unwrap_or_else(|error| panic!("cannot make certificates: {error}"))
    }

    fn try_create(directory: &Path) -> Result<Self, rcgen::Error> {
        let mut params = named("Throughline test authority", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);

        let mut server = named("broker", &["localhost", "127.0.0.1"])?;
        server.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let server_key = KeyPair::generate()?;
        let server = server.signed_by(&server_key, &issuer)?.pem();

        let mut client = named("client", &[])?;
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        let client = client.signed_by(&client_key, &issuer)?.pem();

        let file = |name: &str, content: &str| {
            let path = directory.join(name);
            write(&path, content);
            path
        };
        let server_key = server_key.serialize_pem();
        Ok(Self {
            ca: file("ca.pem", &authority.pem()),
            server_store: file("server.pem", &format!("{server_key}{server}")),
            server_cert: file("server-cert.pem", &server),
            server_key: file("server-key.pem", &server_key),
            client_cert: file("client-cert.pem", &client),
            client_key: file("client-key.pem", &client_key.serialize_pem()),
        })
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}
