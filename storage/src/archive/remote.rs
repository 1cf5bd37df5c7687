//! An S3-compatible object store as a place. The only file that names `object_store`.
//!
//! Small files are put in one create-only request; larger ones in parts, under a name that was
//! looked for first. Address, region and credentials come from the environment (`AWS_*`), and
//! the library's errors hold none of them.

use std::io::{self, Read};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::Put;
use crate::error::{Error, Result};

/// Octets of one part, and the largest file put in one request.
const PART: usize = 8 * 1024 * 1024;
/// A request that takes longer has failed.
const REQUEST: Duration = Duration::from_secs(60);
/// So long a failing request is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// A bucket and a prefix in it.
#[derive(Debug)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    bucket: String,
    prefix: String,
    runtime: Own,
}

/// The runtime of the requests; ended without waiting, because its owner may be anywhere.
#[derive(Debug)]
struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Remote {
    /// `s3://bucket/prefix`.
    pub fn open(to: &str) -> Result<Self> {
        let rest = to.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(Error::misuse("place_invalid", format!("{to}: a bucket is missing")));
        }
        let retry = RetryConfig { max_retries: 5, retry_timeout: RETRY, ..Default::default() };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(client(REQUEST))
            .with_retry(retry)
            .build()
            .map_err(|error| Error::misuse("place_invalid", format!("{to}: {error}")))?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Error::io("start a thread for", FilePath::new(to)))?;
        Ok(Self {
            store: Arc::new(store),
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            runtime: Own(Some(runtime)),
        })
    }

    /// The URL of a name.
    pub fn url(&self, name: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.key(name))
    }

    fn key(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let runtime = self.runtime.0.as_ref();
        Ok(runtime.ok_or(Error::Stopped("the object store"))?.block_on(work))
    }

    fn told(&self, name: &str, error: object_store::Error) -> Error {
        let url = self.url(name);
        let kind = match &error {
            object_store::Error::NotFound { .. } => io::ErrorKind::NotFound,
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
            _ => {
                return Error::Remote { url, source: Arc::new(error) };
            }
        };
        Error::io("use", FilePath::new(&url))(io::Error::new(kind, error))
    }

    /// See `Place::put_new`.
    pub fn put_new(&self, name: &str, source: &mut dyn Read) -> Result<Put> {
        let key = self.key(name);
        let first = self.part(name, source)?;
        if first.len() < PART {
            let options = PutOptions { mode: PutMode::Create, ..Default::default() };
            let put = self.store.put_opts(&key, PutPayload::from(first), options);
            return match self.wait(put)? {
                Ok(_) => Ok(Put::Stored),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::Existed),
                Err(error) => Err(self.told(name, error)),
            };
        }
        match self.wait(self.store.head(&key))? {
            Ok(_) => return Ok(Put::Existed),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.told(name, error)),
        }
        let upload = self.wait(self.store.put_multipart(&key))?;
        let mut upload = upload.map_err(|error| self.told(name, error))?;
        let done = self.parts(name, first, source, upload.as_mut());
        if done.is_err() {
            // What was sent costs money until it is given up; a failure of that changes nothing.
            let _given_up = self.wait(upload.abort());
        }
        done
    }

    fn parts(
        &self,
        name: &str,
        first: Vec<u8>,
        source: &mut dyn Read,
        upload: &mut dyn object_store::MultipartUpload,
    ) -> Result<Put> {
        let mut part = first;
        while !part.is_empty() {
            let sent = self.wait(upload.put_part(PutPayload::from(part)))?;
            sent.map_err(|error| self.told(name, error))?;
            part = self.part(name, source)?;
        }
        let done = self.wait(upload.complete())?;
        done.map_err(|error| self.told(name, error))?;
        Ok(Put::Stored)
    }

    /// The next part of a source; shorter at its end.
    fn part(&self, name: &str, source: &mut dyn Read) -> Result<Vec<u8>> {
        let mut part = Vec::new();
        let mut limited = source.take(PART as u64);
        let read = limited.read_to_end(&mut part);
        read.map_err(|error| Error::source_of(error, FilePath::new(&self.url(name))))?;
        Ok(part)
    }

    /// See `Place::get`.
    pub fn get(&self, name: &str) -> Result<Box<dyn Read + '_>> {
        let got = self.wait(self.store.get(&self.key(name)))?;
        let stream = got.map_err(|error| self.told(name, error))?.into_stream();
        Ok(Box::new(Body { remote: self, stream, rest: bytes::Bytes::new() }))
    }

    /// See `Place::list`.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let own = self.key("");
        let below = self.key(prefix.trim_end_matches('/'));
        let mut stream = self.store.list(Some(&below));
        let mut found = Vec::new();
        while let Some(next) = self.wait(stream.next())? {
            let meta = next.map_err(|error| self.told(prefix, error))?;
            let Some(parts) = meta.location.prefix_match(&own) else { continue };
            let name: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            found.push((name.join("/"), meta.size));
        }
        Ok(found)
    }

    /// See `Place::remove`.
    pub fn remove(&self, name: &str) -> Result<()> {
        match self.wait(self.store.delete(&self.key(name)))? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.told(name, error)),
        }
    }
}

fn client(limit: Duration) -> ClientOptions {
    // Plain HTTP is for stores on the same host; the address says which it is.
    let plain = std::env::var("AWS_ENDPOINT").or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
    let plain = plain.is_ok_and(|endpoint| endpoint.starts_with("http://"));
    ClientOptions::new().with_timeout(limit).with_allow_http(plain)
}

/// The octets of an object as they come.
struct Body<'a> {
    remote: &'a Remote,
    stream: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    rest: bytes::Bytes,
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.remote.wait(self.stream.next())? {
                Some(Ok(more)) => self.rest = more,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(into.len());
        let piece = self.rest.split_to(count);
        for (to, from) in into.iter_mut().zip(piece) {
            *to = from;
        }
        Ok(count)
    }
}
