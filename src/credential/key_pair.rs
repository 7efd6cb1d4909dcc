//! Key pairs of authorities and devices: made, kept as PKCS #8 (RFC 5958), and what they sign.

use std::fmt;

use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier};
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, SECP_256_R_1, SECP_384_R_1,
};
use x509_cert::der::{self, Decode, Encode, pem::PemLabel};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

/// Why a key cannot be used. The messages hold nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    #[error("the file holds no private key that is encrypted with AES (PKCS #8), as `openssl pkcs8 -topk8` does")]
    Form,
    #[error("the passphrase does not open the key")]
    Passphrase,
    #[error("the key is none for the elliptic curves P-256 and P-384")]
    Curve,
    #[error("the key could not be encrypted")]
    NotEncrypted,
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// The elliptic curves (FIPS 186-5) that keys are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    /// What people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => SECP_256_R_1,
            Self::P384 => SECP_384_R_1,
        }
    }

    const fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }
}

/// A private key and its public key. It is wiped when dropped and never shown by `Debug`.
pub struct KeyPair {
    curve: Curve,
    pkcs8: SecretDocument,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.curve.as_str())
    }
}

impl KeyPair {
    /// A new random key.
    pub fn generate(curve: Curve) -> Result<Self, KeyPairError> {
        let made = EcdsaKeyPair::generate_pkcs8(curve.signing(), &SystemRandom::new());
        let made = made.map_err(|_| KeyPairError::NoRandomness)?;
        let pkcs8 = SecretDocument::try_from(made.as_ref()).map_err(|_| KeyPairError::Form)?;
        Self::from_pkcs8(pkcs8)
    }

    /// Opens what [`Self::to_encrypted_pem`] or `openssl pkcs8 -topk8` wrote.
    pub fn from_encrypted_pem(text: &str, passphrase: &[u8]) -> Result<Self, KeyPairError> {
        let (label, encrypted) = SecretDocument::from_pem(text).map_err(|_| KeyPairError::Form)?;
        if label != EncryptedPrivateKeyInfo::PEM_LABEL {
            return Err(KeyPairError::Form);
        }
        let encrypted = EncryptedPrivateKeyInfo::try_from(encrypted.as_bytes()).map_err(|_| KeyPairError::Form)?;
        Self::from_pkcs8(encrypted.decrypt(passphrase).map_err(|_| KeyPairError::Passphrase)?)
    }

    fn from_pkcs8(pkcs8: SecretDocument) -> Result<Self, KeyPairError> {
        let random = SystemRandom::new();
        let of = |curve: Curve| EcdsaKeyPair::from_pkcs8(curve.signing(), pkcs8.as_bytes(), &random).ok();
        let curves = [Curve::P256, Curve::P384];
        let found = curves.into_iter().find_map(|curve| of(curve).map(|pair| (curve, pair)));
        let (curve, pair) = found.ok_or(KeyPairError::Curve)?;
        Ok(Self { curve, pkcs8, pair, random })
    }

    /// For a file of its own that nobody else may read: a device has to start without anybody who knows a passphrase.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyPairError> {
        self.pkcs8.to_pem(PrivateKeyInfo::PEM_LABEL, LineEnding::LF).map_err(|_| KeyPairError::Form)
    }

    /// Encrypted (PBES2, RFC 8018): the key for AES-256 is made of the passphrase by scrypt (RFC 7914), with 16 MiB five
    /// times over. OpenSSL, which reads it as well, refuses to use more than 32 MiB.
    pub fn to_encrypted_pem(&self, passphrase: &[u8]) -> Result<Zeroizing<String>, KeyPairError> {
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        for bytes in [&mut salt, &mut iv] {
            getrandom::fill(bytes).map_err(|_| KeyPairError::NoRandomness)?;
        }
        let refused = |_| KeyPairError::NotEncrypted;
        let scrypt = scrypt::Params::new(14, 8, 5, 32).map_err(|_| KeyPairError::NotEncrypted)?;
        let scheme = pbes2::Parameters::scrypt_aes256cbc(scrypt, &salt, &iv);
        let scheme = scheme.map_err(|_| KeyPairError::NotEncrypted)?;
        let plain = PrivateKeyInfo::try_from(self.pkcs8.as_bytes()).map_err(refused)?;
        let encrypted = plain.encrypt_with_params(scheme, passphrase).map_err(refused)?;
        encrypted.to_pem(EncryptedPrivateKeyInfo::PEM_LABEL, LineEnding::LF).map_err(|_| KeyPairError::NotEncrypted)
    }

    /// The curve that it is for.
    #[must_use]
    pub const fn curve(&self) -> Curve {
        self.curve
    }

    /// Its public key (RFC 5480).
    pub(super) fn public_key(&self) -> der::Result<SubjectPublicKeyInfoOwned> {
        let parameters = Any::encode_from(&self.curve.oid())?;
        Ok(SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned { oid: ID_EC_PUBLIC_KEY, parameters: Some(parameters) },
            subject_public_key: BitString::from_bytes(self.pair.public_key().as_ref())?,
        })
    }

    /// The same as DER.
    pub fn public_key_der(&self) -> Result<Vec<u8>, KeyPairError> {
        self.public_key().and_then(|key| key.to_der()).map_err(|_| KeyPairError::Form)
    }

    /// What its signatures are made with (RFC 5758, section 3.2).
    pub(super) const fn signature_algorithm(&self) -> AlgorithmIdentifierOwned {
        let oid = match self.curve {
            Curve::P256 => ECDSA_WITH_SHA_256,
            Curve::P384 => ECDSA_WITH_SHA_384,
        };
        AlgorithmIdentifierOwned { oid, parameters: None }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<BitString, KeyPairError> {
        let signature = self.pair.sign(&self.random, message).map_err(|_| KeyPairError::NoRandomness)?;
        BitString::from_bytes(signature.as_ref()).map_err(|_| KeyPairError::Form)
    }
}

/// A public key (`SubjectPublicKeyInfo`, DER) as it goes into a certificate.
pub(super) fn public_key_of(der: &[u8]) -> der::Result<SubjectPublicKeyInfoOwned> {
    SubjectPublicKeyInfoOwned::from_der(der)
}
