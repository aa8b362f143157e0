//! What passes between the two sub-nodes when a pair is made: the code that `hansa pair init` prints at the active, and the
//! papers that the other one gets for it. The commands and the wiring read and write them; how they travel is not known here.
//!
//! Whoever has the code within its hour becomes the organization, for the papers have its key. So the code opens once.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use hansa_core::{
    code::{Code, Fault},
    ident::{City, OrganizationId, OrganizationName, SubnodeId},
    membership::{Certificate, Credentials},
    mirror::Certified,
    moment::Moment,
    signed::{Purpose, Signed},
};
use hansa_federation::{Identity, Options, PairingSecret};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

/// How long a code opens.
pub const CODE_MS: u64 = 3_600_000;
/// How a code's text begins.
const CODE_PREFIX: &str = "hansa-pair-";
/// Characters of a code's text.
const CODE_CHARACTERS_MAX: usize = 8 * 1024;
/// Bytes of a hash at the end of a code, so that a slip in copying is found at once.
const CHECKSUM_BYTES: usize = 4;
/// Addresses in a code, and of one sub-node in the papers.
const ADDRESSES_MAX: usize = 16;
/// Members whose addresses the papers have.
const MEMBERS_MAX: usize = 64;
/// What a sub-node is called before it knows whose it is.
const NAME_UNTIL_PAIRED: &str = "joining";
/// Nesting of the papers' CBOR.
const DEPTH_MAX: usize = 32;

/// Thirty-two bytes that nobody else may know, and that are never shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret(#[serde(with = "serde_bytes")] [u8; 32]);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn random() -> Result<Self, Fault> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Fault::new(Code::Internal, format!("the system gives no randomness: {error}")))?;
        Ok(Self(bytes))
    }

    /// These bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// What opens a pair to one more sub-node. Its text is one line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairingCode {
    /// The sub-node that made it.
    pub active: SubnodeId,
    /// Where that is reached, as multiaddresses that end in its peer id.
    pub addresses: Vec<String>,
    /// What makes it open.
    pub secret: Secret,
    /// After this it opens nothing.
    pub expires: Moment,
}

impl PairingCode {
    /// Check that it opens something at this moment.
    ///
    /// # Errors
    /// [`Code::PairingExpired`].
    pub fn check(&self, now: Moment) -> Result<(), Fault> {
        if now > self.expires {
            return Err(Fault::new(Code::PairingExpired, format!("the pairing code opened until {}", self.expires)));
        }
        Ok(())
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).map_err(|_| fmt::Error)?;
        let hash = blake3::hash(&bytes);
        bytes.extend(&hash.as_bytes()[..CHECKSUM_BYTES]);
        write!(out, "{CODE_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for PairingCode {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        // The text is a secret, so no fault repeats it.
        let malformed = |what: &str| Fault::new(Code::PairingMalformed, what.to_owned());
        let text = text.trim();
        if text.len() > CODE_CHARACTERS_MAX {
            return Err(malformed("the text is too long for a pairing code"));
        }
        let rest = text
            .strip_prefix(CODE_PREFIX)
            .ok_or_else(|| malformed("a pairing code begins with 'hansa-pair-', and this text does not"))?;
        let bytes = BASE64URL_NOPAD
            .decode(rest.as_bytes())
            .map_err(|_| malformed("the pairing code has characters that do not belong there, or is cut off"))?;
        let (bytes, checksum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(|| malformed("the pairing code is cut off"))?;
        if blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES] != checksum[..] {
            return Err(malformed("the pairing code is cut off or changed"));
        }
        let code: Self = read(bytes, Code::PairingMalformed, "the pairing code is of another version")?;
        if code.addresses.is_empty() || code.addresses.len() > ADDRESSES_MAX {
            return Err(malformed("the pairing code names no address, or too many"));
        }
        Ok(code)
    }
}

/// The code that opens just now: there is one at most, and a new one takes the place of the old. It lives with the process,
/// so a restart closes it.
#[derive(Debug, Default)]
pub struct Outstanding(Mutex<Option<PairingCode>>);

impl Outstanding {
    /// From now on this code opens.
    pub fn issue(&self, code: PairingCode) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
    }

    /// Somebody comes with a secret. The code that it belongs to opens this once.
    ///
    /// # Errors
    /// [`Code::PairingExpired`], whatever exactly is wrong with it.
    pub fn redeem(&self, secret: &[u8; 32], now: Moment) -> Result<PairingCode, Fault> {
        let mut outstanding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Hashes are compared, so that how long it takes tells nothing of the secret.
        let opens = |code: &&mut PairingCode| {
            blake3::hash(code.secret.bytes()) == blake3::hash(secret) && code.check(now).is_ok()
        };
        match outstanding.as_mut().filter(opens) {
            Some(_) => Ok(outstanding.take().expect("it was looked at")),
            None => Err(Fault::new(Code::PairingExpired, "no pairing code that was made here opens with this secret")),
        }
    }
}

/// Where a sub-node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Which.
    pub subnode: SubnodeId,
    /// Its city.
    pub city: City,
    /// Where members reach it, as multiaddresses.
    pub federation: Vec<String>,
    /// Where services and clients attach to it, host and port.
    pub cxip: String,
}

/// What a sub-node needs to begin as one of a pair, beside the keys. It lies in the data folder until the duties have taken
/// it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Papers {
    /// The organization's papers.
    pub credentials: Credentials,
    /// The organization's word on the new sub-node's key.
    pub certificate: Signed,
    /// The pair, as the organization founded it.
    pub founding: Certified,
    /// The sub-node that gave all this.
    pub active: Whereabouts,
    /// Where other members are, the witnesses first.
    pub members: Vec<(SubnodeId, Vec<String>)>,
}

/// What the active answers to whoever comes with the code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pairing {
    /// The seed of the organization's key.
    pub organization: Secret,
    /// The organization's name.
    pub name: OrganizationName,
    /// Everything else.
    pub papers: Papers,
}

impl Pairing {
    /// Give a new sub-node what makes it one of the organization `key`: its certificate is made here.
    pub fn new(
        key: &SigningKey,
        certificate: &Certificate,
        credentials: Credentials,
        founding: Certified,
        active: Whereabouts,
        mut members: Vec<(SubnodeId, Vec<String>)>,
    ) -> Self {
        members.truncate(MEMBERS_MAX);
        members.iter_mut().for_each(|(_, addresses)| addresses.truncate(ADDRESSES_MAX));
        let name = certificate.name.clone();
        let certificate = Signed::new(key, Purpose::Certificate, certificate);
        let papers = Papers { credentials, certificate, founding, active, members };
        Self { organization: Secret::new(key.to_bytes()), name, papers }
    }

    /// The organization's key.
    pub fn key(&self) -> SigningKey {
        SigningKey::from_bytes(self.organization.bytes())
    }

    /// As it travels. It has the organization's key in it: it goes over an encrypted connection only, and into no log.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// The answer to `code`, for a sub-node in a city.
    ///
    /// # Errors
    /// [`Code::PairForged`] where these are not the papers of one organization and one pair for this sub-node.
    pub fn from_bytes(bytes: &[u8], code: &PairingCode, subnode: SubnodeId, city: &City) -> Result<Self, Fault> {
        let pairing: Self = read(bytes, Code::PairForged, "the active's answer cannot be read")?;
        pairing.check(code, subnode, city)?;
        Ok(pairing)
    }

    fn check(&self, code: &PairingCode, subnode: SubnodeId, city: &City) -> Result<(), Fault> {
        let forged = |what: &str| Err(Fault::new(Code::PairForged, format!("the active's answer: {what}")));
        let Papers { credentials, certificate, founding, active, members } = &self.papers;
        let organization = OrganizationId(self.key().verifying_key().to_bytes());
        credentials.verify(credentials.federation(), organization)?;
        let opened: Certificate = certificate.open(Purpose::Certificate, Code::PairForged)?;
        if certificate.by != organization || opened.subnode != subnode || opened.city != *city {
            return forged("its certificate is for another sub-node");
        }
        if opened.name != self.name {
            return forged("its certificate is for another name");
        }
        founding.verify(None)?;
        if founding.configuration.pair != organization {
            return forged("its pair is another organization's");
        }
        if active.subnode != code.active {
            return forged("it is by another sub-node than the code");
        }
        let addresses = members.iter().map(|(_, addresses)| addresses).chain([&active.federation]);
        if members.len() > MEMBERS_MAX || addresses.into_iter().any(|all| all.len() > ADDRESSES_MAX) {
            return forged("it has more addresses than there may be");
        }
        Ok(())
    }
}

impl Papers {
    /// As they lie in the data folder.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(self)
    }

    /// Read them there. They were checked when they came.
    ///
    /// # Errors
    /// [`Code::PairForged`]: these are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        read(bytes, Code::PairForged, "the papers of the pair in the data folder cannot be read")
    }
}

/// Ask the active sub-node that made `code` for the papers of a sub-node with this transport key.
///
/// # Errors
/// [`Code::PeerUnreachable`] with every address that was tried; [`Code::PairingExpired`]; or what the active answered.
pub async fn ask_active(code: &PairingCode, node: &SigningKey, city: &City) -> Result<Pairing, Fault> {
    let subnode = SubnodeId(node.verifying_key().to_bytes());
    // Nobody is anybody yet: the certificate tells the city and the key, and the one that counts is in the answer.
    let certificate = Certificate {
        subnode,
        name: NAME_UNTIL_PAIRED.parse()?,
        city: city.clone(),
        issued: hansa_actors::clock::now(),
    };
    let stranger = SigningKey::from_bytes(Secret::random()?.bytes());
    let identity =
        Identity { node: node.clone(), certificate: Signed::new(&stranger, Purpose::Certificate, &certificate) };
    let (handle, events) = hansa_federation::start(hansa_federation::Start {
        identity,
        credentials: None,
        terms_hash: crate::wiring::terms_hash(),
        options: Options { listen: Vec::new(), mdns: false, ..Options::default() },
        serving: 0,
        duties: Arc::new(()),
    })?;
    let addresses = code.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let answer = handle.pair(code.active, addresses, PairingSecret(*code.secret.bytes())).await;
    handle.stop().await;
    drop(events);
    Pairing::from_bytes(&answer?, code, subnode, city)
}

fn write<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("encoding into memory cannot fail");
    bytes
}

fn read<T: DeserializeOwned>(bytes: &[u8], code: Code, failed: &str) -> Result<T, Fault> {
    ciborium::de::from_reader_with_recursion_limit(bytes, DEPTH_MAX).map_err(|_| Fault::new(code, failed.to_owned()))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use hansa_core::{
        membership::Charter,
        mirror::{Configuration, MemberId, Mode, Witnesses},
    };

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn subnode(seed: u8) -> SubnodeId {
        SubnodeId(key(seed).verifying_key().to_bytes())
    }

    /// A code of the sub-node 2.
    pub fn code() -> PairingCode {
        PairingCode {
            active: subnode(2),
            addresses: vec!["/ip4/10.0.0.2/tcp/4100".to_owned()],
            secret: Secret::new([7; 32]),
            expires: Moment(u64::MAX / 2),
        }
    }

    /// What the organization 1 answers, whose sub-node 2 is active, to the sub-node `node` in Hamburg.
    pub fn answer(node: SubnodeId) -> Pairing {
        let own = OrganizationId(key(1).verifying_key().to_bytes());
        let charter = Charter { name: "hansa".parse().unwrap(), founder: own, founded: Moment(1) };
        let credentials = Credentials { charter: Signed::new(&key(1), Purpose::Charter, &charter), admissions: vec![] };
        let member = |seed| MemberId { subnode: subnode(seed), journal: u64::from(seed) };
        let founding = Configuration {
            pair: own,
            epoch: 1,
            mode: Mode::Solo { active: member(2) },
            witnesses: Witnesses::new(vec![member(4), member(5), member(6)]),
        };
        let (name, city): (OrganizationName, City) = ("Acme BV".parse().unwrap(), "Hamburg".parse().unwrap());
        let active = Whereabouts {
            subnode: subnode(2),
            city: "Rotterdam".parse().unwrap(),
            federation: vec!["/ip4/10.0.0.2/tcp/4100".to_owned()],
            cxip: "10.0.0.2:4000".to_owned(),
        };
        let certificate = Certificate { subnode: node, name, city, issued: Moment(2) };
        let members = vec![(subnode(4), vec!["/ip4/10.0.0.4/tcp/4100".to_owned()])];
        Pairing::new(&key(1), &certificate, credentials, Certified::founded(&key(1), founding), active, members)
    }

    #[test]
    fn a_code_comes_through_its_text_and_a_slip_in_copying_is_found() {
        let text = code().to_string();
        let read: PairingCode = format!("  {text}\n").parse().unwrap();
        assert_eq!((read.active, &read.addresses), (code().active, &code().addresses));
        assert_eq!(read.secret.bytes(), code().secret.bytes());
        let fault = |text: &str| text.parse::<PairingCode>().unwrap_err();
        for place in (CODE_PREFIX.len()..text.len()).step_by(7) {
            let mut slip = text.clone().into_bytes();
            slip[place] = if slip[place] == b'A' { b'B' } else { b'A' };
            let slip = String::from_utf8(slip).unwrap();
            let told = fault(&slip);
            assert_eq!(told.code, Code::PairingMalformed, "{place}");
            assert!(!told.message.contains(&slip[CODE_PREFIX.len()..]), "a fault does not repeat the secret");
        }
        for none in ["", "hansa-pair-", "hansa-invite-abc", &text[..text.len() - 1], &"x".repeat(10_000)] {
            assert_eq!(fault(none).code, Code::PairingMalformed);
        }
    }

    #[test]
    fn a_code_opens_once_within_its_time_and_not_after_the_next_was_made() {
        let outstanding = Outstanding::default();
        let now = Moment(1_000);
        let fresh = |seed| PairingCode { secret: Secret::new([seed; 32]), expires: now.plus_ms(CODE_MS), ..code() };
        let refused = |seed: u8, now| outstanding.redeem(&[seed; 32], now).unwrap_err().code;
        assert_eq!(refused(1, now), Code::PairingExpired, "there is none");
        outstanding.issue(fresh(1));
        assert_eq!(refused(2, now), Code::PairingExpired);
        assert_eq!(refused(1, now.plus_ms(CODE_MS + 1)), Code::PairingExpired);
        outstanding.redeem(&[1; 32], now.plus_ms(CODE_MS)).unwrap();
        assert_eq!(refused(1, now), Code::PairingExpired, "it was used");
        outstanding.issue(fresh(3));
        outstanding.issue(fresh(4));
        assert_eq!(refused(3, now), Code::PairingExpired);
        outstanding.redeem(&[4; 32], now).unwrap();
    }

    // M2: a sub-node becomes one of a pair with the organization's word, and with nobody else's.
    #[test]
    fn an_answer_is_taken_only_if_everything_in_it_is_of_one_organization_and_for_this_sub_node() {
        let city: City = "Hamburg".parse().unwrap();
        let take = |pairing: &Pairing| Pairing::from_bytes(&pairing.to_bytes(), &code(), subnode(3), &city);
        let taken = take(&answer(subnode(3))).unwrap();
        assert_eq!(taken.papers, answer(subnode(3)).papers);
        assert_eq!(taken.key().to_bytes(), key(1).to_bytes());
        assert_eq!(Papers::from_bytes(&taken.papers.to_bytes()).unwrap(), taken.papers);

        type Change = fn(&mut Pairing);
        let changes: [(&str, Change); 6] = [
            ("another key", |pairing| pairing.organization = Secret::new([9; 32])),
            ("another name", |pairing| pairing.name = "Birch GmbH".parse().unwrap()),
            ("another active", |pairing| pairing.papers.active.subnode = subnode(5)),
            ("another's certificate", |pairing| pairing.papers.certificate = answer(subnode(8)).papers.certificate),
            ("another pair", |pairing| pairing.papers.founding.configuration.pair = OrganizationId([8; 32])),
            ("too many addresses", |pairing| pairing.papers.active.federation = vec!["/tcp/1".to_owned(); 99]),
        ];
        for (what, change) in changes {
            let mut pairing = answer(subnode(3));
            change(&mut pairing);
            assert!(take(&pairing).is_err(), "{what}");
        }
        let elsewhere = "Bremen".parse().unwrap();
        let bytes = answer(subnode(3)).to_bytes();
        assert!(Pairing::from_bytes(&bytes, &code(), subnode(3), &elsewhere).is_err());
        assert!(Pairing::from_bytes(&bytes[1..], &code(), subnode(3), &city).is_err());
    }

    #[test]
    fn nothing_that_is_secret_is_shown() {
        let shown = format!("{:?} {:?} {:?}", code(), answer(subnode(3)), Outstanding::default());
        assert!(shown.contains("Secret"), "{shown}");
        let (secret, organization) = (format!("{:?}", [7_u8; 32]), format!("{:?}", [1_u8; 32]));
        for hidden in [secret, organization] {
            assert!(!shown.contains(hidden.trim_matches(['[', ']'])), "{shown}");
        }
    }
}
