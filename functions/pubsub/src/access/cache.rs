//! Tokens that were verified, so that each of a client's polls does not cost a signature.

use std::{collections::HashMap, mem, sync::Arc};

use ring::digest::{SHA256, digest};

use super::token::Verified;
use crate::limits::TOKENS_MAX;

/// The tokens that were used lately. When there are too many, those that were not used lately are dropped.
#[derive(Default)]
pub(super) struct Cache {
    new: HashMap<Fingerprint, Arc<Verified>>,
    old: HashMap<Fingerprint, Arc<Verified>>,
}

/// The hash of a token. Tokens themselves are not kept.
pub(super) type Fingerprint = [u8; 32];

/// The hash by which tokens are recognised.
pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    fingerprint
}

impl Cache {
    pub(super) fn get(&mut self, fingerprint: &Fingerprint) -> Option<Arc<Verified>> {
        if let Some(verified) = self.new.get(fingerprint) {
            return Some(Arc::clone(verified));
        }
        let verified = self.old.remove(fingerprint)?;
        self.put(*fingerprint, Arc::clone(&verified));
        Some(verified)
    }

    pub(super) fn put(&mut self, fingerprint: Fingerprint, verified: Arc<Verified>) {
        if self.new.len() >= TOKENS_MAX / 2 {
            self.old = mem::take(&mut self.new);
        }
        self.new.insert(fingerprint, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Expected, json, tests::claims};

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let verified =
            Arc::new(Verified::by(&json::object(claims().as_bytes()).unwrap(), &Expected::default()).unwrap());
        let mut cache = Cache::default();
        let used = fingerprint("used");
        cache.put(used, Arc::clone(&verified));
        cache.put(fingerprint("unused"), Arc::clone(&verified));
        for number in 0..3 * TOKENS_MAX {
            cache.put(fingerprint(&number.to_string()), Arc::clone(&verified));
            assert!(cache.get(&used).is_some(), "{number}");
            assert!(cache.new.len() + cache.old.len() <= TOKENS_MAX);
        }
        assert!(cache.get(&fingerprint("unused")).is_none());
    }
}
