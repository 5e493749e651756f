//! The users' file: a name and a hashed passcode a line, as `tidegate hash-passcode` writes it.
//!
//! ```text
//! # comment
//! ct1:$argon2id$v=19$m=12288,t=3,p=1$…$…
//! ```
//!
//! A verified name is recognised again by a keyed digest, in memory only, so that a modality that associates for every study costs one
//! Argon2 computation and not hundreds. A wrong passcode costs one computation each time, which takes the same time whether or not the
//! user
//! exists and whether a passcode was sent.

use std::collections::HashMap;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Memory a hash takes, in KiB, its passes and lanes: one of the settings OWASP's password storage cheat sheet recommends for Argon2id.
const NEW_HASH: (u32, u32, u32) = (12 * 1024, 3, 1);
/// Most memory of a hash, in KiB. A hash above it is not accepted from a file: it would take memory from the associations.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
/// Longest user name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Most users in a file.
const MAX_USERS: usize = 10_000;

/// An error of a users' file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// A line that is not `name:hash`.
    #[error("line {0}: not NAME:HASH as `tidegate hash-passcode` prints it")]
    Line(usize),
    /// A hash of another kind, or one that needs too much memory or time.
    #[error("line {0}: not an Argon2 hash that needs at most {most} MiB", most = MOST_MEMORY_KIB / 1024)]
    Hash(usize),
    /// A name that occurs twice.
    #[error("line {0}: the name is also in an earlier line")]
    Twice(usize),
    /// Too many lines.
    #[error("more than {MAX_USERS} users")]
    TooMany,
}

/// A user whose passcode was verified, and the line of the file that it was verified by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    name: Vec<u8>,
    /// Digest of the hash in the file.
    hash: [u8; 32],
}

/// Users and their hashed passcodes.
pub struct Users {
    /// Hashed passcodes, in the order of the file.
    hashes: Vec<String>,
    /// The index of each user's hash.
    by_name: HashMap<Vec<u8>, usize>,
    memory_bytes: u64,
    key: [u8; 32],
    /// Digests of verified pairs, by name: at most one for each user.
    known: Mutex<HashMap<Vec<u8>, [u8; 32]>>,
}

impl Users {
    /// Reads a users' file.
    ///
    /// # Errors
    /// The number of the first invalid line.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let (mut hashes, mut by_name) = (Vec::new(), HashMap::new());
        let mut most_kib = NEW_HASH.0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, hash)) = line.split_once(':').filter(|(name, _)| is_name(name)) else {
                return Err(UsersError::Line(number));
            };
            let parsed = PasswordHash::new(hash).map_err(|_| UsersError::Hash(number))?;
            let params = Params::try_from(&parsed).map_err(|_| UsersError::Hash(number))?;
            let is_argon2 = Algorithm::try_from(parsed.algorithm).is_ok() && parsed.hash.is_some();
            if !is_argon2 || params.m_cost() > MOST_MEMORY_KIB {
                return Err(UsersError::Hash(number));
            }
            most_kib = most_kib.max(params.m_cost());
            if by_name.insert(name.as_bytes().to_vec(), hashes.len()).is_some() {
                return Err(UsersError::Twice(number));
            }
            hashes.push(hash.to_owned());
            if hashes.len() > MAX_USERS {
                return Err(UsersError::TooMany);
            }
        }
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        Ok(Self { hashes, by_name, memory_bytes: u64::from(most_kib) * 1024, key, known: Mutex::default() })
    }

    /// The number of users.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Most memory that [`Self::verify`] takes while it runs, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether this pair was verified before. Cheap.
    pub fn remembers(&self, name: &[u8], passcode: &[u8]) -> bool {
        let digest = self.digest(name, passcode);
        self.known.lock().get(name).is_some_and(|known| known.ct_eq(&digest).into())
    }

    /// Whether the passcode is that of the user; `None`: none was sent, which is wrong. Tens of milliseconds and [`Self::memory_bytes`],
    /// whatever the answer.
    pub fn verify(&self, name: &[u8], passcode: Option<&[u8]>) -> bool {
        let index = self.by_name.get(name).copied();
        let Some(hash) = index.or_else(|| self.decoy(name)).and_then(|index| self.hashes.get(index)) else {
            return false;
        };
        let Ok(parsed) = PasswordHash::new(hash) else { return false };
        let is_equal = Argon2::default().verify_password(passcode.unwrap_or_default(), &parsed).is_ok();
        match passcode {
            Some(passcode) if is_equal && index.is_some() => {
                self.known.lock().insert(name.to_vec(), self.digest(name, passcode));
                true
            }
            _ => false,
        }
    }

    /// The credential of a user whose passcode was verified; `None`: there is no such user.
    pub fn credential(&self, name: &[u8]) -> Option<Credential> {
        let hash = self.by_name.get(name).and_then(|index| self.hashes.get(*index))?;
        Some(Credential { name: name.to_vec(), hash: Sha256::digest(hash).into() })
    }

    /// Whether the user of a credential, verified by this file or an earlier one, is still in the file, with the same hash.
    pub fn holds(&self, credential: &Credential) -> bool {
        self.credential(&credential.name).as_ref() == Some(credential)
    }

    /// The hash that stands in for that of an unknown user: one of the file, always the same for a name. The hashes of a file may differ in
    /// cost, so that no one of them would take the time of all.
    fn decoy(&self, name: &[u8]) -> Option<usize> {
        let digest = self.digest(name, b"");
        (digest[0] as usize | (digest[1] as usize) << 8).checked_rem(self.hashes.len())
    }

    fn digest(&self, name: &[u8], passcode: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name);
        digest.update(passcode);
        digest.finalize().into()
    }
}

/// A line of a users' file for this user; `None` if the name is not allowed in one.
pub fn line(name: &str, passcode: &[u8]) -> Option<String> {
    is_name(name).then(|| hash_of(passcode)).flatten().map(|hash| format!("{name}:{hash}"))
}

fn hash_of(passcode: &[u8]) -> Option<String> {
    let (memory_kib, passes, lanes) = NEW_HASH;
    let params = Params::new(memory_kib, passes, lanes, None).ok()?;
    let salt = SaltString::generate(&mut OsRng);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Some(argon2.hash_password(passcode, &salt).ok()?.to_string())
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('#')
        && !name.chars().any(|c| c.is_control() || c == ':')
}

impl std::fmt::Debug for Users {
    /// Prints neither names nor hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_passcode_of_a_user_is_right_and_nothing_else() {
        let text = format!("# users\n\n{}\n{}\n", line("ct1", b"sesame").unwrap(), line("mr 1", b"other").unwrap());
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.count(), 2);
        assert!(!users.remembers(b"ct1", b"sesame"));
        assert!(users.verify(b"ct1", Some(b"sesame")) && users.verify(b"mr 1", Some(b"other")));
        assert!(users.remembers(b"ct1", b"sesame"));
        for (name, passcode) in [(&b"ct1"[..], &b"other"[..]), (b"ct1", b""), (b"ct2", b"sesame"), (b"", b"")] {
            assert!(!users.verify(name, Some(passcode)) && !users.remembers(name, passcode));
            assert!(!users.verify(name, None));
        }
        let decoys: std::collections::HashSet<_> = (0..64_u8).map(|name| users.decoy(&[name])).collect();
        assert_eq!(decoys, [Some(0), Some(1)].into(), "an unknown name costs what some user costs");
        let nobody = Users::parse("").unwrap();
        assert!(!nobody.verify(b"x", Some(b"x")));
        let told = format!("{users:?}");
        assert!(!told.contains("argon2") && !told.contains("ct1"), "{told}");
    }

    #[test]
    fn a_credential_holds_while_the_line_of_its_user_stands() {
        let [ct, mr, renewed] =
            [("ct1", "a"), ("mr1", "b"), ("ct1", "a")].map(|(name, passcode)| line(name, passcode.as_bytes()).unwrap());
        let users = Users::parse(&format!("{ct}\n{mr}\n")).unwrap();
        let credential = users.credential(b"ct1").unwrap();
        assert_eq!(users.credential(b"ct2"), None);
        for (text, holds) in
            [(format!("{mr}\n# moved\n{ct}\n"), true), (mr, false), (renewed, false), (String::new(), false)]
        {
            assert_eq!(Users::parse(&text).unwrap().holds(&credential), holds, "{text}");
        }
    }

    #[test]
    fn a_line_that_cannot_stand_is_named() {
        let good = line("a", b"x").unwrap();
        let error = |text: &str| Users::parse(text).unwrap_err();
        assert_eq!(error("a"), UsersError::Line(1));
        assert_eq!(error("# c\na:secret"), UsersError::Hash(2));
        assert_eq!(
            error("a:$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzYWx0$c29tZWhhc2hzb21laGFzaA"),
            UsersError::Hash(1)
        );
        assert_eq!(error(&format!("{good}\n{good}")), UsersError::Twice(2));
        assert_eq!(line("a:b", b"x"), None);
        assert_eq!(line("", b"x"), None);
    }
}
