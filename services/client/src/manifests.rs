//! Manifests of a repository: get, head, put, delete; verified on the way in and on the way out.

use crate::{
    Asked, Condition, Error, Manifest, PutManifest, Repository, Result,
    error::clean,
    transport::{Body, Method, Response, header},
};
use bytes::Bytes;
use oci::{Algorithm, Descriptor, Digest, ManifestKind, ManifestRef, Route, headers, media_type};

/// Says which manifests this client can store; sent with every request for one.
fn accept() -> String {
    let kinds = ManifestKind::ALL.map(ManifestKind::media_type);
    kinds.join(", ")
}

impl Repository {
    /// A manifest, verified against the digest that was asked for and against the registry's digest header.
    ///
    /// # Errors
    /// `NotFound`, `DigestMismatch`, `TooLarge` above 4 MiB, `WrongContentType`, and every failure of the request.
    pub async fn get_manifest(&self, target: &ManifestRef) -> Result<Manifest> {
        let response = self.ask_manifest(Method::GET, target).await?;
        match response.status() {
            200 => received(response, target).await,
            400.. => Err(response.into_error(&format!("manifest {target} in {self}")).await),
            _ => Err(response.unexpected("200").await),
        }
    }

    /// As [`Repository::get_manifest`], but `None` for a 404.
    ///
    /// # Errors
    /// As there, but for `NotFound`.
    pub async fn try_get_manifest(&self, target: &ManifestRef) -> Result<Option<Manifest>> {
        match self.get_manifest(target).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Media type, digest and size of a manifest, without its body; `None` if it is not there. A registry that does not
    /// tell the digest is asked for the body.
    ///
    /// # Errors
    /// Every failure but a 404.
    pub async fn head_manifest(&self, target: &ManifestRef) -> Result<Option<Descriptor>> {
        let response = self.ask_manifest(Method::HEAD, target).await?;
        match response.status() {
            200 => {}
            404 => {
                response.discard().await;
                return Ok(None);
            }
            400.. => return Err(response.into_error(&format!("manifest {target} in {self}")).await),
            _ => return Err(response.unexpected("200 or 404").await),
        }
        let digest = digest_header(&response)?;
        if let (Some(digest), ManifestRef::Digest(asked)) = (digest, target) {
            agree(&response.at(), asked, &digest)?;
        }
        let kind = ManifestKind::from_media_type(&response.media_type());
        let told = (digest, response.content_length(), kind);
        response.discard().await;
        match told {
            (Some(digest), Some(size), Some(kind)) => {
                Ok(Some(Descriptor::new(kind.media_type(), digest, size)))
            }
            _ => Ok(self.try_get_manifest(target).await?.map(|m| m.descriptor())),
        }
    }

    async fn ask_manifest(&self, method: Method, target: &ManifestRef) -> Result<Response> {
        let route = Route::Manifest(self.name().clone(), target.clone());
        let ask = self.reading(method, &route).header(header::ACCEPT, accept());
        self.session().send(ask).await
    }

    /// Puts a manifest.
    ///
    /// # Errors
    /// `Refused` with the registry's code and message; `PreconditionFailed`; `DigestMismatch` if `target` is a digest
    /// that the bytes do not have, or the registry answers another digest.
    pub async fn put_manifest(
        &self,
        target: &ManifestRef,
        manifest: &Manifest,
        condition: &Condition,
    ) -> Result<PutManifest> {
        let route = Route::Manifest(self.name().clone(), target.clone());
        let mut ask = self
            .writing(Method::PUT, &route)
            .header(header::CONTENT_TYPE, manifest.media_type.clone())
            .body(Body::Bytes(manifest.bytes.clone()));
        match condition {
            Condition::Always => {}
            Condition::IfMatch(etag) => ask = ask.header(header::IF_MATCH, etag.clone()),
            Condition::IfAbsent => ask = ask.header(header::IF_NONE_MATCH, "*"),
        }
        let algorithm = match target {
            ManifestRef::Digest(digest) => digest.algorithm(),
            ManifestRef::Tag(_) => Algorithm::Sha256,
        };
        let digest = Digest::of(algorithm, &manifest.bytes);
        if let ManifestRef::Digest(asked) = target {
            let at = Asked {
                method: "PUT".to_owned(),
                url: crate::redact::url(ask.url.as_str()),
            };
            agree(&at, asked, &digest)?;
        }
        let response = self.session().send(ask).await?;
        match response.status() {
            200..=202 => put_answer(response, &manifest.bytes, digest).await,
            400.. => Err(response
                .into_error(&format!("repository {self}, or what the manifest needs,"))
                .await),
            _ => Err(response.unexpected("201").await),
        }
    }

    /// Deletes a manifest (by digest) or a tag.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` where the registry does not delete.
    pub async fn delete_manifest(&self, target: &ManifestRef) -> Result<()> {
        let route = Route::Manifest(self.name().clone(), target.clone());
        self.delete(&route, &format!("manifest {target} in {self}")).await
    }

    pub(crate) async fn delete(&self, route: &Route, what: &str) -> Result<()> {
        let mut ask = self.writing(Method::DELETE, route).once();
        ask.scopes = crate::auth::delete(self.name());
        let response = self.session().send(ask).await?;
        match response.status() {
            200..=204 => {
                response.discard().await;
                Ok(())
            }
            400.. => Err(response.into_error(what).await),
            _ => Err(response.unexpected("202").await),
        }
    }
}

/// Reads and verifies the answer to a GET of a manifest.
async fn received(response: Response, target: &ManifestRef) -> Result<Manifest> {
    let at = response.at();
    let stated = response
        .header(&header::CONTENT_TYPE)
        .unwrap_or_default()
        .to_owned();
    let media_type = response.media_type();
    let claimed = digest_header(&response)?;
    let etag = response.header(&header::ETAG).map(str::to_owned);
    if !may_be_manifest(&media_type) {
        response.discard().await;
        return Err(Error::WrongContentType {
            at: Box::new(at),
            got: clean(&stated),
            expected: "a manifest's media type",
        });
    }
    let bytes = response.document(oci::MAX_MANIFEST_BYTES, "a manifest").await?;
    let digest = match target {
        ManifestRef::Digest(asked) => {
            check(&at, asked, &bytes)?;
            *asked
        }
        ManifestRef::Tag(_) => Digest::sha256(&bytes),
    };
    if let Some(claimed) = claimed {
        check(&at, &claimed, &bytes)?;
    }
    let media_type = body_media_type(&media_type, &bytes);
    Ok(Manifest {
        bytes,
        media_type,
        digest,
        etag,
    })
}

/// Whether an answer of this type can be a manifest: any JSON, or nothing stated. The known kinds are not all there are.
fn may_be_manifest(media_type: &str) -> bool {
    ["", media_type::JSON, "text/plain", media_type::OCTET_STREAM].contains(&media_type)
        || media_type.ends_with("+json")
        || media_type.ends_with("+prettyjws")
}

/// The type that was stated, unless it says nothing: then the one in the body, or the one of its shape.
fn body_media_type(stated: &str, bytes: &[u8]) -> String {
    if stated.ends_with("+json") {
        return stated.to_owned();
    }
    match oci::ManifestView::parse(None, bytes) {
        Ok(view) => view.kind.media_type().to_owned(),
        Err(_) => stated.to_owned(),
    }
}

async fn put_answer(response: Response, bytes: &Bytes, digest: Digest) -> Result<PutManifest> {
    let at = response.at();
    let claimed = digest_header(&response)?;
    let etag = response.header(&header::ETAG).map(str::to_owned);
    let subject = response.header_named(headers::OCI_SUBJECT);
    let subject = subject.and_then(|text| Digest::parse(text.trim()).ok());
    response.discard().await;
    if let Some(claimed) = claimed {
        check(&at, &claimed, bytes)?;
    }
    Ok(PutManifest {
        digest,
        etag,
        subject,
    })
}

/// The digest that the registry claims.
pub(crate) fn digest_header(response: &Response) -> Result<Option<Digest>> {
    let Some(text) = response.header_named(headers::DOCKER_CONTENT_DIGEST) else {
        return Ok(None);
    };
    let digest = Digest::parse(text.trim()).map_err(|e| Error::Protocol {
        at: Box::new(response.at()),
        what: format!("header {}: {e}", headers::DOCKER_CONTENT_DIGEST),
    })?;
    Ok(Some(digest))
}

fn check(at: &Asked, expected: &Digest, bytes: &[u8]) -> Result<()> {
    agree(at, expected, &Digest::of(expected.algorithm(), bytes))
}

fn agree(at: &Asked, expected: &Digest, computed: &Digest) -> Result<()> {
    // Another algorithm is another name of the same bytes, not a contradiction.
    if expected == computed || expected.algorithm() != computed.algorithm() {
        return Ok(());
    }
    Err(Error::DigestMismatch {
        at: Box::new(at.clone()),
        expected: Box::new(*expected),
        computed: Box::new(*computed),
    })
}
