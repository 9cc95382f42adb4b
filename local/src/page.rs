//! The page, from the binary or a folder.
//!
//! A file is read whole before it is sent, so that a slow client keeps no file open. There are no range requests and no
//! listings of folders: this is for a page, not for downloads.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION},
};
use mime_guess::mime;
use percent_encoding::percent_decode_str;
use pubsub::api::{Problem, refuse};
use tokio::sync::Semaphore;

use crate::development::{PRIVATE, PUBLIC};

/// The page of a release, by name; empty in other builds.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The folder of the page in other builds.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../static");

/// A file that is larger is not served.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// How many files are read at once. Each takes a descriptor and a thread.
const READS_MAX: usize = 16;

/// Where the page is.
pub(crate) struct Page {
    /// The folder; without one, it is in the binary.
    folder: Option<PathBuf>,
    reads: Semaphore,
}

enum Found {
    File(Bytes),
    /// A folder with a page, requested without the slash at its end.
    Folder,
    Nothing,
}

impl Page {
    /// The page in this folder, or linger's own.
    pub(crate) fn new(folder: Option<PathBuf>) -> io::Result<Self> {
        let folder = folder.or_else(|| FILES.is_empty().then(|| FOLDER.into()));
        if let Some(folder) = &folder
            && !folder.join("index.html").is_file()
        {
            return Err(io::Error::new(io::ErrorKind::NotFound, folder.display().to_string()));
        }
        Ok(Self { folder, reads: Semaphore::new(READS_MAX) })
    }

    /// Answers a request for a file. 404 comes before 405.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response<Bytes> {
        let path = request.uri().path();
        let Some(name) = name(path) else {
            return refuse(Problem::not_found());
        };
        let found = self.find(name.clone()).await;
        if matches!(found, Found::Nothing) {
            return refuse(Problem::not_found());
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return refuse(Problem::method_not_allowed("GET, HEAD"));
        }
        match found {
            Found::File(bytes) => file(&name, bytes, request.headers()),
            // The name has no empty part, so this can't lead to another host.
            _ => redirect(&format!("{path}/")),
        }
    }

    async fn find(&self, name: String) -> Found {
        let Some(folder) = self.folder.clone() else {
            let file = FILES.iter().find(|(file, _)| *file == name);
            return file.map_or(Found::Nothing, |(_, bytes)| Found::File(Bytes::from_static(bytes)));
        };
        let _reading = self.reads.acquire().await;
        let read = tokio::task::spawn_blocking(move || read(&folder, &name)).await;
        match read.unwrap_or_else(|failed| Err(failed.into())) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "no file");
                Found::Nothing
            }
        }
    }
}

/// Whether a file must not be served: its name begins with a dot, or `linger keys` makes it. With HS256, both of its
/// files have the secret.
fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || [PRIVATE, PUBLIC].contains(&name)
}

/// The name of the requested file, relative to the folder.
fn name(path: &str) -> Option<String> {
    let path = percent_decode_str(path.strip_prefix('/')?).decode_utf8().ok()?.into_owned();
    let name = if path.is_empty() || path.ends_with('/') { path + "index.html" } else { path };
    let plain = |part: &str| !part.is_empty() && !is_hidden(part) && !part.contains(['\0', '\\']);
    name.split('/').all(plain).then_some(name)
}

/// Reads a file, after checking that it is in the folder and a regular file: opening a pipe would wait for its other
/// end.
fn read(folder: &Path, name: &str) -> io::Result<Found> {
    let folder = folder.canonicalize()?;
    let path = folder.join(name).canonicalize()?;
    let inside = path.strip_prefix(&folder).map_err(io::Error::other)?;
    let hidden = inside.components().any(|part| is_hidden(&part.as_os_str().to_string_lossy()));
    let metadata = path.metadata()?;
    Ok(if hidden {
        Found::Nothing
    } else if metadata.is_dir() && path.join("index.html").is_file() {
        Found::Folder
    } else if metadata.is_file() && metadata.len() <= FILE_BYTES_MAX {
        Found::File(fs::read(path)?.into())
    } else {
        Found::Nothing
    })
}

/// The tag is weak, because it is the same for each encoding.
fn file(name: &str, bytes: Bytes, asked: &HeaderMap) -> Response<Bytes> {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    let fresh = asked.get_all(IF_NONE_MATCH).iter().any(|tags| {
        let tags = tags.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|known| known == "*" || known.trim_start_matches("W/") == &tag[2..])
    });
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let text = kind.type_() == mime::TEXT || kind.subtype() == mime::JAVASCRIPT || kind.subtype() == mime::JSON;
    let kind = if text { format!("{kind}; charset=utf-8") } else { kind.to_string() };

    let mut response = Response::new(if fresh { Bytes::new() } else { bytes });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (header, value) in [(ETAG, tag), (CONTENT_TYPE, kind)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header, value);
        }
    }
    if fresh {
        headers.remove(CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

fn redirect(location: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_inside() {
        for (path, file) in [
            ("/", "index.html"),
            ("/chat.js", "chat.js"),
            ("/a/b%20c", "a/b c"),
            ("/a/", "a/index.html"),
            ("/%E2%82%AC", "€"),
        ] {
            assert_eq!(name(path).as_deref(), Some(file));
        }
        for path in [
            "",
            "chat.js",
            "//",
            "//chat",
            "/a//b",
            "/./a",
            "/../a",
            "/a/../b",
            "/%2e%2e/a",
            "/.git/config",
            "/a/.env",
            "/%00",
            "/a%5c..%5cb",
            "/%2Fetc",
            "/%ff",
            "/a/%2e",
            "*",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
