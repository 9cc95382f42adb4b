//! Answers on their way out: compressed if the client asks for it, and not too many large ones at once.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    io::Write,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue, Response,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY},
};
use pubsub::api::{Code, Problem, refuse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smaller answers are not compressed: that would save no packet.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// An answer of this size or less does not count against [`UNDER_WAY_BYTES_MAX`], so that clients that read are
/// answered however many large answers wait: 20,000 connections with such an answer each are 320 MB.
const UNCOUNTED_BYTES: usize = 16 * 1024;

/// All larger answers that are not read yet, in bytes: 128 of the largest. One that many clients get counts once.
const UNDER_WAY_BYTES_MAX: usize = 64 << 20;

/// Those of one address. One that many of its clients get counts once too.
const ADDRESS_BYTES_MAX: usize = UNDER_WAY_BYTES_MAX / 4;

/// How many compressed answers are remembered, because many clients get the same one.
const REMEMBERED_MAX: usize = 64;

/// Their size together, in bytes.
const REMEMBERED_BYTES_MAX: usize = 8 << 20;

/// The answers that are under way.
pub(crate) struct Answers {
    room: Arc<Semaphore>,
    under_way: Arc<Mutex<UnderWay>>,
    compressed: Mutex<VecDeque<Compressed>>,
}

/// The larger ones.
#[derive(Default)]
struct UnderWay {
    answers: HashMap<BytesAt, Weak<OwnedSemaphorePermit>>,
    /// Each once for each address that gets it.
    shares: HashMap<(IpAddr, BytesAt), Weak<Share>>,
    /// The bytes of all shares of an address.
    bytes: HashMap<IpAddr, usize>,
}

/// Where bytes are in memory, and how many.
type BytesAt = (usize, usize);

struct Compressed {
    /// Kept, so that no other answer can get the same address.
    plain: Bytes,
    gzip: Arc<OnceLock<Bytes>>,
}

/// The bytes of a large answer. They count until the last client has them.
struct LargeAnswer {
    bytes: Bytes,
    _permit: Arc<OwnedSemaphorePermit>,
    _share: Option<Arc<Share>>,
}

/// What a large answer counts for at one address, until its last client there has it.
struct Share {
    address: IpAddr,
    at: BytesAt,
    under_way: Arc<Mutex<UnderWay>>,
}

impl AsRef<[u8]> for LargeAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    pub(crate) fn new() -> Self {
        let room = Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX));
        Self { room, under_way: Arc::default(), compressed: Mutex::default() }
    }

    /// Compresses an answer if the client accepts gzip, and refuses it when too many large ones are under way, in all or
    /// to this address, if it is a limited one.
    pub(crate) fn send(&self, gzip: bool, address: Option<IpAddr>, response: Response<Bytes>) -> Response<Bytes> {
        if response.body().len() <= COMPRESSED_BYTES_MIN {
            return response;
        }
        let (mut parts, mut bytes) = response.into_parts();
        if is_text(&parts.headers) {
            parts.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
            if gzip {
                bytes = self.gzip(&bytes);
                parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                parts.headers.remove(CONTENT_LENGTH);
            }
        }
        match self.count(bytes, address) {
            Ok(bytes) => Response::from_parts(parts, bytes),
            Err(problem) => refuse(problem),
        }
    }

    fn count(&self, bytes: Bytes, address: Option<IpAddr>) -> Result<Bytes, Problem> {
        if bytes.len() <= UNCOUNTED_BYTES {
            return Ok(bytes);
        }
        let at = (bytes.as_ptr() as usize, bytes.len());
        // It locks too when it is dropped, which is after the lock below.
        let share = address.map(|address| self.share(address, at)).transpose()?;
        let mut under_way = lock(&self.under_way);
        let permit = match under_way.answers.get(&at).and_then(Weak::upgrade) {
            Some(permit) => permit,
            None => {
                under_way.answers.retain(|_, permit| permit.strong_count() > 0);
                let permits = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
                let full = |_| Problem::new(Code::Overloaded, "too many large answers wait to be read; ask again");
                let permit = Arc::new(room.map_err(full)?);
                under_way.answers.insert(at, Arc::downgrade(&permit));
                permit
            }
        };
        Ok(Bytes::from_owner(LargeAnswer { bytes, _permit: permit, _share: share }))
    }

    fn share(&self, address: IpAddr, at: BytesAt) -> Result<Arc<Share>, Problem> {
        let mut under_way = lock(&self.under_way);
        if let Some(share) = under_way.shares.get(&(address, at)).and_then(Weak::upgrade) {
            return Ok(share);
        }
        let bytes = under_way.bytes.entry(address).or_default();
        if *bytes + at.1 > ADDRESS_BYTES_MAX {
            return Err(Problem::new(Code::Overloaded, "too many large answers to this address wait to be read"));
        }
        *bytes += at.1;
        let share = Arc::new(Share { address, at, under_way: Arc::clone(&self.under_way) });
        under_way.shares.insert((address, at), Arc::downgrade(&share));
        Ok(share)
    }

    fn gzip(&self, plain: &Bytes) -> Bytes {
        let gzip = self.remembered(plain);
        gzip.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::fast());
            // Writing to a vector never fails.
            let _ = encoder.write_all(plain);
            encoder.finish().unwrap_or_default().into()
        })
        .clone()
    }

    /// The entry for an answer's compressed form, which is made once.
    fn remembered(&self, plain: &Bytes) -> Arc<OnceLock<Bytes>> {
        let mut compressed = lock(&self.compressed);
        let same = |known: &&Compressed| known.plain.as_ptr() == plain.as_ptr() && known.plain.len() == plain.len();
        if let Some(known) = compressed.iter().find(same) {
            return Arc::clone(&known.gzip);
        }
        let gzip = Arc::default();
        compressed.push_back(Compressed { plain: plain.clone(), gzip: Arc::clone(&gzip) });
        let bytes = |compressed: &VecDeque<Compressed>| compressed.iter().map(|one| one.plain.len()).sum::<usize>();
        while compressed.len() > REMEMBERED_MAX || bytes(&compressed) > REMEMBERED_BYTES_MAX {
            compressed.pop_front();
        }
        gzip
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut under_way = lock(&self.under_way);
        let own = (self.address, self.at);
        // Another one may have come in between.
        if under_way.shares.get(&own).is_some_and(|share| share.strong_count() == 0) {
            under_way.shares.remove(&own);
        }
        if let Entry::Occupied(mut bytes) = under_way.bytes.entry(self.address) {
            *bytes.get_mut() -= self.at.1;
            if *bytes.get() == 0 {
                bytes.remove();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let text = kind.starts_with("text/")
        || ["json", "javascript", "yaml", "xml", "openmetrics"].iter().any(|text| kind.contains(text));
    text && !headers.contains_key(CONTENT_ENCODING)
}

/// Whether gzip or anything is accepted, and not with the weight 0.
pub(crate) fn takes_gzip(asked: &HeaderMap) -> bool {
    let given = asked.get_all(ACCEPT_ENCODING);
    let weight_of = |wanted: &[&str]| {
        let values = given.iter().filter_map(|value| value.to_str().ok());
        let mut codings = values.flat_map(|value| value.split(','));
        codings.find_map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters.trim().strip_prefix(['q', 'Q']).and_then(|rest| rest.strip_prefix('='));
            let weight = weight.map_or(Ok(1.0), str::parse::<f32>);
            let named = wanted.iter().any(|wanted| name.trim().eq_ignore_ascii_case(wanted));
            named.then(|| weight.unwrap_or_default())
        })
    };
    weight_of(&["gzip", "x-gzip"]).or_else(|| weight_of(&["*"])).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(encodings: &str) -> HeaderMap {
        [(ACCEPT_ENCODING, encodings.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn gzip_is_sent_to_whom_it_is_welcome() {
        for encodings in ["gzip", "deflate, GZIP;q=0.5", "br, *", "x-gzip", "*;q=0, gzip"] {
            assert!(takes_gzip(&asking(encodings)), "{encodings}");
        }
        for encodings in ["", "br", "gzip;q=0", "gzip; Q=0", "gzip;q=0.000, *", "*;q=0", "gzip;q=nonsense", "identity"]
        {
            assert!(!takes_gzip(&asking(encodings)), "{encodings}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    fn answer(bytes: &Bytes) -> Response<Bytes> {
        Response::builder().header(CONTENT_TYPE, "application/json").body(bytes.clone()).unwrap()
    }

    fn sent(answers: &Answers, encodings: &str, bytes: &Bytes) -> Response<Bytes> {
        answers.send(takes_gzip(&asking(encodings)), None, answer(bytes))
    }

    #[test]
    fn what_many_get_is_compressed_once() {
        let answers = Answers::new();
        let plain = Bytes::from(vec![b' '; 2000]);
        let mut places = Vec::new();
        for _ in 0..3 {
            let response = sent(&answers, "gzip", &plain);
            assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
            let body = response.into_body();
            assert!(body.len() < 100);
            places.push(body.as_ptr());
        }
        places.dedup();
        assert_eq!(places.len(), 1);
        let small = sent(&answers, "gzip", &plain.slice(..1024));
        assert!(!small.headers().contains_key(CONTENT_ENCODING) && !small.headers().contains_key(VARY));
        let plainly = sent(&answers, "br", &plain);
        assert_eq!(
            (plainly.headers().get(CONTENT_ENCODING), &plainly.headers()[VARY]),
            (None, &"accept-encoding".parse().unwrap())
        );
    }

    #[test]
    fn large_answers_that_nobody_reads_have_a_maximum_in_all() {
        let answers = Answers::new();
        let large = || Bytes::from(vec![b' '; 512 * 1024]);
        let mut unread = Vec::new();
        for _ in 0..UNDER_WAY_BYTES_MAX / (512 * 1024) {
            let response = sent(&answers, "", &large());
            assert!(response.status().is_success());
            unread.push(response.into_body());
        }
        let refused = sent(&answers, "", &large());
        assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
        assert!(sent(&answers, "", &Bytes::from(vec![b' '; UNCOUNTED_BYTES])).status().is_success());

        unread.pop();
        let shared = large();
        for _ in 0..1000 {
            let response = sent(&answers, "", &shared);
            assert!(response.status().is_success(), "what a herd gets counts once");
            unread.push(response.into_body());
        }
        unread.clear();
        assert_eq!(answers.room.available_permits(), UNDER_WAY_BYTES_MAX);
    }

    #[test]
    fn one_address_has_a_share_of_large_answers() {
        let answers = Answers::new();
        let large = || Bytes::from(vec![b' '; 512 * 1024]);
        let sent = |address: u8, bytes: &Bytes| {
            let address = Some([192, 0, 2, address].into());
            let response = answers.send(false, address, answer(bytes));
            let taken = response.status().is_success();
            taken.then_some(response.into_body())
        };
        let shared = large();
        let mut unread = Vec::new();
        for _ in 0..1000 {
            unread.push(sent(1, &shared).expect("what its clients get together counts once"));
        }
        for _ in 1..ADDRESS_BYTES_MAX / (512 * 1024) {
            unread.push(sent(1, &large()).expect("within its share"));
        }
        assert!(sent(1, &large()).is_none());
        assert!(sent(1, &shared).is_some() && sent(2, &large()).is_some() && sent(2, &shared).is_some());
        unread.pop();
        assert!(sent(1, &large()).is_some());
        unread.clear();
        let left = lock(&answers.under_way);
        assert!(left.shares.is_empty() && left.bytes.is_empty());
        drop(left);
        assert_eq!(answers.room.available_permits(), UNDER_WAY_BYTES_MAX);
    }
}
