//! Logs one connection in.
//!
//! After ApiVersions and before anything else, as brokers want it. Must not try again, nor print a token.

use ring::rand::{SecureRandom, SystemRandom};

use super::{
    super::wire::{
        api::ApiKey,
        frame::response_header_length,
        messages::{
            login::{
                LoginStep, SASL_AUTHENTICATE_VERSIONS, SASL_HANDSHAKE_VERSIONS,
                sasl_authenticate_request, sasl_handshake_request,
            },
            sasl::SaslHandshakeResponse,
        },
    },
    ProbeError,
    access::{Login, LoginError, Mechanism},
    connection::Connection,
    scram::Scram,
};

/// Bytes of a nonce before they are written as text.
const NONCE_BYTES: usize = 24;

/// Says who we are.
pub(super) async fn log_in(connection: &mut Connection, login: &Login) -> Result<(), ProbeError> {
    handshake(connection, login.mechanism).await?;
    match login.mechanism {
        Mechanism::Plain => {
            let token = format!("\0{}\0{}", login.username, login.password);
            step(connection, login.mechanism, token.as_bytes()).await?;
        }
        Mechanism::ScramSha256 | Mechanism::ScramSha512 => scram(connection, login).await?,
    }
    Ok(())
}

async fn handshake(connection: &mut Connection, mechanism: Mechanism) -> Result<(), ProbeError> {
    let version = connection.version(ApiKey::SASL_HANDSHAKE, SASL_HANDSHAKE_VERSIONS);
    let version = version.ok_or(ProbeError::Login(LoginError::NotSpoken))?;
    let id = connection.next_id();
    let request = sasl_handshake_request(id, mechanism.as_str());
    let answer = connection.exchange(&request).await?;
    let header = response_header_length(&answer, ApiKey::SASL_HANDSHAKE, version)?;
    let body = answer.get(header..).unwrap_or_default();
    let answer = SaslHandshakeResponse::read(body, version)?;
    match answer.error_code {
        0 => Ok(()),
        // ILLEGAL_SASL_STATE: a listener without SASL.
        34 => Err(ProbeError::Login(LoginError::NotSpoken)),
        _ => Err(ProbeError::Login(LoginError::NotOffered(mechanism))),
    }
}

/// Sends one token and gives the broker's.
async fn step(
    connection: &mut Connection,
    mechanism: Mechanism,
    token: &[u8],
) -> Result<Vec<u8>, ProbeError> {
    let version = connection.version(ApiKey::SASL_AUTHENTICATE, SASL_AUTHENTICATE_VERSIONS);
    let version = version.ok_or(ProbeError::Login(LoginError::NotSpoken))?;
    let id = connection.next_id();
    let request = sasl_authenticate_request(id, version, token);
    let request = request.ok_or(ProbeError::Login(LoginError::NotSpoken))?;
    let answer = connection.exchange(&request).await?;
    let header = response_header_length(&answer, ApiKey::SASL_AUTHENTICATE, version)?;
    let step = LoginStep::read(answer.get(header..).unwrap_or_default(), version)?;
    if step.error_code != 0 {
        return Err(ProbeError::Login(LoginError::Refused(mechanism)));
    }
    Ok(step.token.to_vec())
}

async fn scram(connection: &mut Connection, login: &Login) -> Result<(), ProbeError> {
    let mechanism = login.mechanism;
    let nonce = nonce().ok_or(ProbeError::Login(LoginError::NoRandomness))?;
    let scram = Scram::new(mechanism, &login.username, &login.password, &nonce);
    let text = |bytes: Vec<u8>| {
        let malformed = ProbeError::Login(LoginError::Malformed(mechanism));
        String::from_utf8(bytes).map_err(|_| malformed)
    };
    let first = step(connection, mechanism, scram.first().as_bytes()).await?;
    let proof = scram.prove(&text(first)?).map_err(ProbeError::Login)?;
    let last = step(connection, mechanism, proof.message.as_bytes()).await?;
    scram.check(&proof, &text(last)?).map_err(ProbeError::Login)
}

/// Random text without a comma.
fn nonce() -> Option<String> {
    let mut bytes = [0u8; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
