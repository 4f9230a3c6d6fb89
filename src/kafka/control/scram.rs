//! The client's side of SCRAM: text in, text out.
//!
//! Reference: RFC 5802, RFC 7677; Kafka's `ScramFormatter` and `ScramSaslClient`. Pure but for the nonce it is given. Must
//! not log what it handles, and accepts no server that has not proven itself.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{digest, hmac, pbkdf2};

use super::access::{LoginError, Mechanism};

/// Fewest rounds a broker may ask for, as Kafka's own clients have it: fewer would be a downgrade.
const ROUNDS_MIN: u32 = 4_096;
/// Most rounds: what asks for more wants our processor, not our password.
const ROUNDS_MAX: u32 = 1_000_000;

/// One exchange.
pub(super) struct Scram<'a> {
    mechanism: Mechanism,
    password: &'a str,
    nonce: &'a str,
    first_bare: String,
}

/// Our proof, and what the server must answer.
pub(super) struct Proof {
    /// The client's final message.
    pub(super) message: String,
    expected: String,
}

struct Hashes {
    derive: pbkdf2::Algorithm,
    mac: hmac::Algorithm,
    digest: &'static digest::Algorithm,
}

fn hashes(mechanism: Mechanism) -> Hashes {
    match mechanism {
        Mechanism::ScramSha512 => Hashes {
            derive: pbkdf2::PBKDF2_HMAC_SHA512,
            mac: hmac::HMAC_SHA512,
            digest: &digest::SHA512,
        },
        Mechanism::Plain | Mechanism::ScramSha256 => Hashes {
            derive: pbkdf2::PBKDF2_HMAC_SHA256,
            mac: hmac::HMAC_SHA256,
            digest: &digest::SHA256,
        },
    }
}

impl<'a> Scram<'a> {
    pub(super) fn new(
        mechanism: Mechanism,
        username: &str,
        password: &'a str,
        nonce: &'a str,
    ) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            mechanism,
            password,
            nonce,
            first_bare: format!("n={name},r={nonce}"),
        }
    }

    /// The client's first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's first message.
    pub(super) fn prove(&self, server_first: &str) -> Result<Proof, LoginError> {
        let malformed = LoginError::Malformed(self.mechanism);
        let field = |name: &str| {
            let mut all = server_first.split(',');
            all.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let nonce = field("r").ok_or(malformed)?;
        if !nonce.starts_with(self.nonce) || nonce.len() == self.nonce.len() {
            return Err(malformed);
        }
        let salt = STANDARD.decode(field("s").ok_or(malformed)?);
        let salt = salt.map_err(|_| malformed)?;
        let rounds = field("i").and_then(|i| i.parse::<u32>().ok());
        let rounds = rounds.filter(|i| (ROUNDS_MIN..=ROUNDS_MAX).contains(i));
        let rounds = rounds.and_then(NonZeroU32::new).ok_or(malformed)?;

        let hashes = hashes(self.mechanism);
        let mut salted = vec![0u8; hashes.digest.output_len()];
        let password = self.password.as_bytes();
        pbkdf2::derive(hashes.derive, rounds, &salt, password, &mut salted);
        let key =
            |secret: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hashes.mac, secret), text);
        let client_key = key(&salted, b"Client Key");
        let stored_key = digest::digest(hashes.digest, client_key.as_ref());
        // c = the base64 of "n,,": no channel binding.
        let unproven = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{unproven}", self.first_bare);
        let signature = key(stored_key.as_ref(), signed.as_bytes());
        let both = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = both.map(|(a, b)| a ^ b).collect();
        let server_key = key(&salted, b"Server Key");
        let server_signature = key(server_key.as_ref(), signed.as_bytes());
        Ok(Proof {
            message: format!("{unproven},p={}", STANDARD.encode(proof)),
            expected: STANDARD.encode(server_signature.as_ref()),
        })
    }

    /// Whether the server's final message proves that it knows the password.
    pub(super) fn check(&self, proof: &Proof, server_final: &str) -> Result<(), LoginError> {
        let mut fields = server_final.split(',');
        if fields.any(|part| part.strip_prefix("v=") == Some(&proof.expected)) {
            return Ok(());
        }
        Err(if server_final.starts_with("e=") {
            LoginError::Refused(self.mechanism)
        } else {
            LoginError::Unproven(self.mechanism)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc_comes_out() {
        let scram = Scram::new(
            Mechanism::ScramSha256,
            "user",
            "pencil",
            "rOprNGfwEbeRWgbNEkqO",
        );
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.prove(server).map_err(|_| ()).unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let right = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(scram.check(&proof, right), Ok(()));
        let unproven = LoginError::Unproven(Mechanism::ScramSha256);
        for wrong in ["", "v=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="] {
            assert_eq!(scram.check(&proof, wrong), Err(unproven));
        }
        let refused = LoginError::Refused(Mechanism::ScramSha256);
        assert_eq!(scram.check(&proof, "e=invalid-proof"), Err(refused));
    }

    #[test]
    fn a_server_that_asks_for_too_little_or_too_much_is_refused() {
        let scram = Scram::new(Mechanism::ScramSha512, "a=b,c", "secret", "nonce");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=nonce");
        for wrong in [
            "",
            "r=nonce1,s=AAAA,i=1",
            "r=nonce1,s=AAAA,i=4000000000",
            "r=nonce1,s=?,i=4096",
            "r=nonce,s=AAAA,i=4096",
            "r=other,s=AAAA,i=4096",
            "s=AAAA,i=4096",
        ] {
            let malformed = LoginError::Malformed(Mechanism::ScramSha512);
            assert_eq!(scram.prove(wrong).err(), Some(malformed), "{wrong}");
        }
    }
}
