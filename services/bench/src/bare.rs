//! The limit for reads: actix-web answering fixed bytes from memory, without anything that a registry does.

use crate::content::{self, FileContent, LargeBlobs};
use crate::settings::Scale;
use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::Server, web};
use bytes::Bytes;
use futures_util::stream;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Pieces that a large body is sent in, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// The answers by path.
#[derive(Clone, Debug)]
struct Answers {
    whole: HashMap<String, Bytes>,
    large: (String, Bytes),
}

/// A server of the content that `bench files` writes, from memory; without a scale, of `/v2/` alone. Must be called inside
/// an actix system.
///
/// # Errors
/// If the address cannot be listened on.
pub fn server(
    address: SocketAddr,
    workers: usize,
    scale: Option<&Scale>,
) -> io::Result<(Server, SocketAddr)> {
    let answers = web::Data::new(answers(scale));
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let make = move || {
        App::new()
            .app_data(answers.clone())
            .default_service(web::to(answer))
    };
    let server = HttpServer::new(make).workers(workers).listen(listener)?;
    Ok((server.disable_signals().run(), address))
}

fn answers(scale: Option<&Scale>) -> Answers {
    let mut answers = Answers {
        whole: HashMap::from([("/v2/".to_owned(), Bytes::from_static(b"{}"))]),
        large: (String::new(), Bytes::new()),
    };
    let Some(scale) = scale else { return answers };
    for (path, content) in content::files(scale) {
        match content {
            FileContent::Whole(bytes) => {
                answers.whole.insert(format!("/{path}"), bytes.into());
            }
            FileContent::Large => {
                let blobs = LargeBlobs::new(scale.large_bytes);
                let blob = blobs.blob(0);
                let body = blobs.body(&blob);
                let mut bytes = body.block.repeat(body.repeats);
                bytes.extend(body.tail);
                answers.large = (format!("/{path}"), bytes.into());
            }
        }
    }
    answers
}

async fn answer(request: HttpRequest, answers: web::Data<Answers>) -> HttpResponse {
    let octets = (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(bytes) = answers.whole.get(request.path()) {
        return HttpResponse::Ok().insert_header(octets).body(bytes.clone());
    }
    let (path, bytes) = &answers.large;
    if path != request.path() {
        return HttpResponse::NotFound().finish();
    }
    let pieces = stream::unfold(bytes.clone(), |mut left| async move {
        let piece = left.split_to(PIECE_BYTES.min(left.len()));
        (!piece.is_empty()).then_some((Ok::<_, io::Error>(piece), left))
    });
    let body = BoxBody::new(SizedStream::new(bytes.len() as u64, Box::pin(pieces)));
    HttpResponse::Ok().insert_header(octets).body(body)
}
