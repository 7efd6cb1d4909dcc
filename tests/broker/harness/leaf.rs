//! Certificates that the openssl command would not make: by authorities of all kinds, with anything in them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::x509::{X509, X509Builder, X509Extension, X509Name};

use super::ca::{der, hex};
use super::{Ca, Login};

/// Whoever issues certificates: the fleet's own CA, another, or one below it.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) certificate: X509,
    pub(crate) key: PKey<Private>,
    /// What a client has to send behind its own certificate, so that a broker that trusts the root finds the way there.
    intermediates: Vec<X509>,
}

impl Authority {
    /// The SHA-256 of its public key, as the credentials' `issuer` has it.
    pub(crate) fn pin(&self) -> String {
        hex(&sha256(&self.key.public_key_to_der().unwrap()))
    }

    /// Its name, as RFC 4514 writes names: authorities here have a common name only.
    pub(crate) fn name(&self) -> String {
        let entry = self.certificate.subject_name().entries().next().unwrap();
        format!("CN={}", str::from_utf8(entry.data().as_slice()).unwrap())
    }
}

/// What is to be in the certificate of a device.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Without extensions, as before 1996.
    pub(crate) version_1: bool,
    /// DER: see [`subject`].
    pub(crate) subject: Vec<u8>,
    /// From when to when it is good, in seconds from now.
    pub(crate) dates: (i64, i64),
    /// Alternative names: the tag of each (RFC 5280, section 4.2.1.6: 1 mail, 2 DNS, 6 URI, 7 IP) and its bytes.
    pub(crate) alternative_names: Vec<(u8, Vec<u8>)>,
    /// What its key may be used for: `clientAuth` is 2, `serverAuth` is 1 (section 4.2.1.12).
    pub(crate) extended_key_usage: Vec<u8>,
    /// It says that it is an authority itself.
    pub(crate) authority: bool,
    /// It has a key of its own, instead of that of all devices.
    pub(crate) own_key: bool,
    /// Where a responder may be asked about it (section 4.2.2.1).
    pub(crate) responder: Option<String>,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            version_1: false,
            subject: subject(&[]),
            dates: (-60, 30 * 24 * 3600),
            alternative_names: Vec::new(),
            extended_key_usage: Vec::new(),
            authority: false,
            own_key: false,
            responder: None,
        }
    }
}

impl Leaf {
    /// With this common name, and nothing else that is special.
    pub(crate) fn named(common_name: &str) -> Self {
        Self { subject: subject(&[(3, 0x0C, common_name.as_bytes())]), ..Self::default() }
    }
}

/// A subject of these attributes: the last number of each one's type (X.520: 3 is the common name, 10 the organization),
/// the tag of its text (0x0C is UTF-8), and its bytes.
pub(crate) fn subject(attributes: &[(u8, u8, &[u8])]) -> Vec<u8> {
    let attribute = |(kind, tag, text): &(u8, u8, &[u8])| {
        let oid = [0x06, 0x03, 0x55, 0x04, *kind];
        der(0x31, &der(0x30, &[&oid[..], &der(*tag, text)].concat()))
    };
    der(0x30, &attributes.iter().map(attribute).collect::<Vec<_>>().concat())
}

impl Ca {
    /// The fleet's own.
    pub(crate) fn root(&self) -> Authority {
        let (certificate, key) = (fs::read(self.certificate_file("ca")).unwrap(), fs::read(self.key("ca")).unwrap());
        Authority {
            certificate: X509::from_pem(&certificate).unwrap(),
            key: PKey::private_key_from_pem(&key).unwrap(),
            intermediates: Vec::new(),
        }
    }

    /// Another one, which signs itself; brokers that are started from now on trust it as well.
    pub(crate) fn second_root(&self, name: &str) -> Authority {
        let key = new_key();
        let leaf = Leaf { authority: true, ..Leaf::named(name) };
        let certificate = leaf.signed(&key, None, &key);
        let file = self.certificate_file("ca");
        let trusted = [fs::read(&file).unwrap(), certificate.to_pem().unwrap()].concat();
        fs::write(file, trusted).unwrap();
        Authority { certificate, key, intermediates: Vec::new() }
    }

    /// One that the fleet's own has made an authority.
    pub(crate) fn intermediate(&self, name: &str) -> Authority {
        let (root, key) = (self.root(), new_key());
        let certificate =
            Leaf { authority: true, ..Leaf::named(name) }.signed(&key, Some(&root.certificate), &root.key);
        Authority { intermediates: vec![certificate.clone()], certificate, key }
    }

    /// The certificate that this authority makes of it.
    pub(crate) fn issue(&self, authority: &Authority, leaf: &Leaf) -> Login {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("leaf-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let key_file = if leaf.own_key { self.key(&name) } else { self.key("device") };
        let key = if leaf.own_key {
            let key = new_key();
            fs::write(&key_file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
            key
        } else {
            PKey::private_key_from_pem(&fs::read(&key_file).unwrap()).unwrap()
        };
        let signed = leaf.signed(&key, Some(&authority.certificate), &authority.key);
        let chain = [&signed].into_iter().chain(&authority.intermediates);
        let pem: Vec<u8> = chain.flat_map(|certificate| certificate.to_pem().unwrap()).collect();
        let certificate = self.certificate_file(&name);
        fs::write(&certificate, pem).unwrap();
        Login::Certificate { certificate, key: key_file }
    }
}

impl Leaf {
    fn signed(&self, key: &PKey<Private>, issuer: Option<&X509>, issuer_key: &PKey<Private>) -> X509 {
        let subject = X509Name::from_der(&self.subject).unwrap();
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let moment = |offset: i64| Asn1Time::from_unix(now + offset).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, openssl::bn::MsbOption::ONE, false).unwrap();

        let mut builder = X509Builder::new().unwrap();
        builder.set_version(if self.version_1 { 0 } else { 2 }).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_not_before(&moment(self.dates.0)).unwrap();
        builder.set_not_after(&moment(self.dates.1)).unwrap();
        builder.set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.subject_name())).unwrap();
        builder.set_subject_name(&subject).unwrap();
        builder.set_pubkey(key).unwrap();
        for (oid, content) in self.extensions() {
            let content = Asn1OctetString::new_from_bytes(&content).unwrap();
            let oid = Asn1Object::from_str(oid).unwrap();
            builder.append_extension(X509Extension::new_from_der(&oid, false, &content).unwrap()).unwrap();
        }
        builder.sign(issuer_key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    fn extensions(&self) -> Vec<(&'static str, Vec<u8>)> {
        if self.version_1 {
            return Vec::new();
        }
        let authority: &[u8] = if self.authority { &[0x01, 0x01, 0xFF] } else { &[] };
        let mut all = vec![("2.5.29.19", der(0x30, authority))];
        if !self.alternative_names.is_empty() {
            let names = self.alternative_names.iter().map(|(tag, name)| der(0x80 | tag, name));
            all.push(("2.5.29.17", der(0x30, &names.collect::<Vec<_>>().concat())));
        }
        if !self.extended_key_usage.is_empty() {
            // 1.3.6.1.5.5.7.3 and the last number.
            let uses = self.extended_key_usage.iter().map(|number| der(0x06, &[0x2B, 6, 1, 5, 5, 7, 3, *number]));
            all.push(("2.5.29.37", der(0x30, &uses.collect::<Vec<_>>().concat())));
        }
        if let Some(address) = &self.responder {
            // 1.3.6.1.5.5.7.48.1, a URI.
            let method = der(0x06, &[0x2B, 6, 1, 5, 5, 7, 48, 1]);
            let description = [method, der(0x86, address.as_bytes())].concat();
            all.push(("1.3.6.1.5.5.7.1.1", der(0x30, &der(0x30, &description))));
        }
        all
    }
}

/// What one can say of a certificate that was made, in the words of the database.
impl Login {
    pub(crate) fn x509(&self) -> X509 {
        let Self::Certificate { certificate, .. } = self else { panic!("{self:?} has no certificate") };
        X509::from_pem(&fs::read(certificate).unwrap()).unwrap()
    }

    pub(crate) fn sha256(&self) -> String {
        hex(&sha256(&self.x509().to_der().unwrap()))
    }

    pub(crate) fn spki_sha256(&self) -> String {
        hex(&sha256(&self.x509().public_key().unwrap().public_key_to_der().unwrap()))
    }

    pub(crate) fn serial(&self) -> String {
        let digits = self.x509().serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase();
        digits.trim_start_matches('0').to_owned()
    }

    pub(crate) fn certificate_file(&self) -> &Path {
        let Self::Certificate { certificate, .. } = self else { panic!("{self:?} has no certificate") };
        certificate
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}
