//! Who is let in: passwords against the verifiers of accounts, and names in client certificates. The wiring asks it for every
//! connection; which accounts there are it is told, and what an account may do is decided in the core.

pub mod certificates;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use hansa_core::{
    access::{Account, Accounts, Verifier},
    code::{Code, Fault},
    ident::AccountName,
    limit,
};
use hansa_sdk::cxip::session::Visitor;
use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Semaphore;

/// Bytes of a password's salt.
const SALT_BYTES: usize = 16;

/// What the doorkeeper lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whoever comes, as long as there is no account: the listener was declared open.
    Open,
    /// Whoever comes from this machine, as long as there is no account: the listener is for this machine alone. Who comes
    /// through a proxy on it may come from anywhere.
    OpenToThisMachine,
    /// Accounts only.
    AccountsOnly,
}

/// Checks who comes.
pub struct Doorkeeper {
    policy: Policy,
    /// Of passwords that were found right: a keyed hash of the account, its verifier and the password. Checking takes time
    /// on purpose, and services come again after every break.
    right: Mutex<HashMap<AccountName, [u8; 32]>>,
    key: [u8; 32],
    checks: Semaphore,
    waiting: AtomicUsize,
    /// What the password of somebody who has no account is checked against, so that it takes as long.
    nobody: Verifier,
}

impl Doorkeeper {
    /// # Errors
    /// The system gives no randomness.
    pub fn new(policy: Policy) -> Result<Self, Fault> {
        Ok(Self {
            policy,
            right: Mutex::default(),
            key: random()?,
            checks: Semaphore::new(limit::PASSWORD_CHECKS_MAX),
            waiting: AtomicUsize::new(0),
            nobody: verifier("nobody's password")?,
        })
    }

    /// Who is let in while there are no accounts.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The account that a visitor comes as; none where nobody needs one.
    ///
    /// # Errors
    /// [`Code::AccessDenied`] without a word on what exactly was wrong; [`Code::Busy`] while too many are checked.
    pub async fn admit(&self, accounts: &Accounts, visitor: Visitor<'_>) -> Result<Option<AccountName>, Fault> {
        let open = match self.policy {
            Policy::Open => true,
            Policy::OpenToThisMachine => !visitor.proxied,
            Policy::AccountsOnly => false,
        };
        if accounts.is_empty() && open {
            return Ok(None);
        }
        let denied = || {
            let shown: String = visitor.name.chars().take(60).collect();
            // Programs that act for many, as this one's commands do, have a name that says nothing.
            let who = match visitor.account {
                Some(account) if account.as_str() != visitor.name => format!("account {account} (of {shown})"),
                _ => shown,
            };
            Fault::new(Code::AccessDenied, format!("{who} is not let in: account, password or certificate is wrong"))
                .help("the node's operator adds accounts with `hansa access add`")
        };
        if let Some(certified) = visitor.certified {
            // A certificate names one account, and no other can be had with it.
            let name: AccountName = certified.parse().map_err(|_| denied())?;
            let other = visitor.account.is_some_and(|account| *account != name);
            return if accounts.named(&name).is_some() && !other { Ok(Some(name)) } else { Err(denied()) };
        }
        let name = match visitor.account {
            Some(name) => name.clone(),
            None => visitor.name.parse().map_err(|_| denied())?,
        };
        let Some(password) = visitor.password.map(|password| password.0.as_str()) else { return Err(denied()) };
        if password.len() > limit::PASSWORD_BYTES_MAX {
            return Err(denied());
        }
        let known = accounts.named(&name).and_then(|account: &Account| account.verifier.clone());
        let is_known = known.is_some();
        let verifier = known.unwrap_or_else(|| self.nobody.clone());
        let mark = self.mark(&name, &verifier, password);
        if is_known && self.right().get(&name) == Some(&mark) {
            return Ok(Some(name));
        }
        let matches = self.check(verifier, password.to_owned()).await?;
        if !(matches && is_known) {
            return Err(denied());
        }
        self.right().insert(name.clone(), mark);
        Ok(Some(name))
    }

    fn right(&self) -> std::sync::MutexGuard<'_, HashMap<AccountName, [u8; 32]>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, name: &AccountName, verifier: &Verifier, password: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [name.as_str(), verifier.as_phc(), password] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether a password matches; few at once, and off the threads that serve everybody.
    async fn check(&self, verifier: Verifier, password: String) -> Result<bool, Fault> {
        let _waits = Waits::begin(&self.waiting)?;
        let _permit = self.checks.acquire().await.map_err(|_| Fault::new(Code::NodeStopped, "the node is stopping"))?;
        let work = move || {
            PasswordHash::new(verifier.as_phc()).is_ok_and(|hash| {
                hashing().is_ok_and(|hashing| hashing.verify_password(password.as_bytes(), &hash).is_ok())
            })
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Fault::new(Code::Internal, format!("a password could not be checked: {error}")))
    }
}

/// One more that waits for its check, for as long as it does.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Result<Self, Fault> {
        let waits = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= limit::PASSWORD_CHECKS_WAITING_MAX {
            return Err(Fault::new(Code::Busy, "many passwords are being checked; try again"));
        }
        Ok(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a password is checked against later. Takes tens of milliseconds.
///
/// # Errors
/// The password is empty or too long, or the system gives no randomness.
pub fn verifier(password: &str) -> Result<Verifier, Fault> {
    if password.is_empty() || password.len() > limit::PASSWORD_BYTES_MAX {
        let message = format!("a password has 1 to {} bytes", limit::PASSWORD_BYTES_MAX);
        return Err(Fault::new(Code::AccessDenied, message).help("choose another one"));
    }
    let failed = |error: argon2::password_hash::Error| {
        Fault::new(Code::Internal, format!("the password could not be hashed: {error}"))
    };
    let salt = SaltString::encode_b64(&random::<SALT_BYTES>()?).map_err(failed)?;
    let hash = hashing()?.hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(Verifier::new(hash.to_string()))
}

/// Argon2id with the parameters that OWASP recommends: 19 MiB, two passes, one lane.
fn hashing() -> Result<Argon2<'static>, Fault> {
    let params = Params::new(19 * 1024, 2, 1, None)
        .map_err(|error| Fault::new(Code::Internal, format!("argon2 refuses its parameters: {error}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], Fault> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)
        .map_err(|error| Fault::new(Code::Internal, format!("the system gives no randomness: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_core::{
        access::{Access, Effect, Input, Rights},
        dice::Dice,
        machine::Machine,
        moment::Moment,
        session::{Asker, SessionId},
    };
    use hansa_sdk::cxip::Password;
    use std::sync::Arc;

    /// The picture of accounts with these names and passwords.
    fn accounts(of: &[(&str, Option<&str>)]) -> Accounts {
        let mut access = Access::new(&());
        for (name, password) in of {
            let input = Input::Add {
                asker: Asker { session: SessionId(0), message: 1 },
                name: name.parse().unwrap(),
                verifier: password.map(|password| verifier(password).unwrap()),
                rights: Rights::default(),
            };
            let decided = access.decide(&(), Moment(1), &mut Dice::new(1), input).unwrap();
            decided.records.iter().for_each(|record| access.absorb(record));
        }
        let drawn = access.decide(&(), Moment(1), &mut Dice::new(1), Access::resumed()).unwrap().effects.remove(0);
        let Effect::Redraw(accounts) = drawn else { panic!("accounts are drawn") };
        accounts
    }

    fn visitor<'a>(name: &'a str, password: Option<&'a Password>, certified: Option<&'a str>) -> Visitor<'a> {
        Visitor { name, account: None, password, certified, proxied: false }
    }

    #[tokio::test]
    async fn the_right_password_opens_and_nothing_else_does() {
        let accounts = accounts(&[("erp", Some("open sesame")), ("certified-only", None)]);
        let door = Doorkeeper::new(Policy::OpenToThisMachine).unwrap();
        let right = Password("open sesame".into());
        let wrong = Password("open barley".into());
        let erp: AccountName = "erp".parse().unwrap();
        for _ in 0..2 {
            let admitted = door.admit(&accounts, visitor("erp", Some(&right), None)).await.unwrap();
            assert_eq!(admitted, Some(erp.clone()), "the first time and when it comes again");
        }
        let as_other = Visitor { account: Some(&erp), ..visitor("credit", Some(&right), None) };
        assert_eq!(door.admit(&accounts, as_other).await.unwrap(), Some(erp));
        // Whoever comes as an account is told which.
        let root: AccountName = "root".parse().unwrap();
        let as_root = Visitor { account: Some(&root), ..visitor("hansa", Some(&wrong), None) };
        let fault = door.admit(&accounts, as_root).await.unwrap_err();
        assert!(fault.message.starts_with("account root (of hansa) is not let in"), "{}", fault.message);
        for refused in [
            visitor("erp", Some(&wrong), None),
            visitor("erp", None, None),
            visitor("stranger", Some(&right), None),
            visitor("certified-only", Some(&right), None),
            visitor("two words", Some(&right), None),
        ] {
            let fault = door.admit(&accounts, refused).await.unwrap_err();
            assert_eq!(fault.code, Code::AccessDenied);
            assert!(!fault.message.contains("open"), "no password is told: {}", fault.message);
        }
    }

    #[tokio::test]
    async fn a_certificate_opens_the_account_that_it_names_alone() {
        let accounts = accounts(&[("erp", None), ("credit", None)]);
        let door = Doorkeeper::new(Policy::AccountsOnly).unwrap();
        let admitted = door.admit(&accounts, visitor("anything", None, Some("erp"))).await.unwrap();
        assert_eq!(admitted.unwrap().as_str(), "erp");
        assert!(door.admit(&accounts, visitor("erp", None, Some("stranger"))).await.is_err());
        let credit: AccountName = "credit".parse().unwrap();
        let other = Visitor { account: Some(&credit), ..visitor("erp", None, Some("erp")) };
        assert!(door.admit(&accounts, other).await.is_err());
    }

    #[tokio::test]
    async fn without_accounts_an_open_door_lets_everybody_in_and_a_closed_one_nobody() {
        let none = Accounts::default();
        let open = Doorkeeper::new(Policy::OpenToThisMachine).unwrap();
        assert_eq!(open.admit(&none, visitor("anybody", None, None)).await.unwrap(), None);
        // What a proxy brings may come from anywhere.
        let proxied = || Visitor { proxied: true, ..visitor("anybody", None, None) };
        assert_eq!(open.admit(&none, proxied()).await.unwrap_err().code, Code::AccessDenied);
        let declared = Doorkeeper::new(Policy::Open).unwrap();
        assert_eq!(declared.admit(&none, proxied()).await.unwrap(), None);
        let closed = Doorkeeper::new(Policy::AccountsOnly).unwrap();
        assert_eq!(closed.admit(&none, visitor("anybody", None, None)).await.unwrap_err().code, Code::AccessDenied);
    }

    #[tokio::test]
    async fn a_flood_of_passwords_is_answered_busy() {
        let accounts = accounts(&[("erp", Some("open sesame"))]);
        let door = Arc::new(Doorkeeper::new(Policy::AccountsOnly).unwrap());
        door.waiting.store(limit::PASSWORD_CHECKS_WAITING_MAX, Ordering::Relaxed);
        let wrong = Password("x".into());
        let fault = door.admit(&accounts, visitor("erp", Some(&wrong), None)).await.unwrap_err();
        assert_eq!(fault.code, Code::Busy);
        assert_eq!(door.waiting.load(Ordering::Relaxed), limit::PASSWORD_CHECKS_WAITING_MAX, "it gave its place back");
    }
}
