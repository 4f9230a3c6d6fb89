//! The HTTP/1 server: accepts, limits, times out, hands requests to the routes.
//!
//! A page must not be able to hurt the sidecar: connections, requests at once, request time, header time and body size all have
//! a limit, and past the request limit the answer is 503 at once. Must not know what a route does.

use std::{
    convert::Infallible, future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use tracing::{Instrument as _, field::Empty};

use super::{Sources, routes};

/// Connections open at once; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// Requests worked on at once; more get 503.
pub const REQUESTS_MAX: usize = 16;
/// Time for one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time a client may take for its request headers, and stay idle between requests.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request body.
pub const BODY_BYTES_MAX: usize = 1024;
/// Rest after a failed accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) type Page = Response<Full<Bytes>>;
type Routes = BoxCloneSyncService<(SocketAddr, Request<Incoming>), Page, BoxError>;

/// Serves until `stop`. Open connections end with their current request.
pub async fn serve(
    listener: TcpListener,
    sources: Arc<Sources>,
    stop: impl Future<Output = ()> + Send,
) {
    let routes = layered(sources);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (Ok(slot), accepted) = (tokio::select! {
            () = &mut stop => return,
            next = next => next,
        }) else {
            return;
        };
        match accepted {
            Ok((stream, peer)) => {
                let routes = routes.clone();
                tokio::spawn(async move {
                    connection(stream, peer, routes).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "admin listener could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn layered(sources: Arc<Sources>) -> Routes {
    let routes = service_fn(move |(peer, request): (SocketAddr, Request<Incoming>)| {
        let sources = Arc::clone(&sources);
        async move {
            let (head, body) = request.into_parts();
            let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<LengthLimitError>() => {
                    let text = "the request body is too large";
                    return Ok(routes::text(StatusCode::PAYLOAD_TOO_LARGE, text));
                }
                Err(error) => return Err(error),
            };
            Ok::<_, BoxError>(routes::answer(&sources, peer, &head, &body))
        }
    });
    let service = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(REQUESTS_MAX)
        .timeout(REQUEST_TIMEOUT)
        .service(routes);
    BoxCloneSyncService::new(service)
}

async fn connection(stream: TcpStream, peer: SocketAddr, routes: Routes) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut routes = routes.clone();
        let span = tracing::debug_span!(
            "request",
            otel.name = format!("{} {}", request.method(), request.uri().path()),
            otel.kind = "server",
            http.request.method = %request.method(),
            url.path = request.uri().path(),
            http.response.status_code = Empty,
        );
        let answered = span.clone();
        async move {
            let answer = match routes.ready().await {
                Ok(ready) => ready.call((peer, request)).await,
                Err(error) => Err(error),
            };
            let answer = answer.unwrap_or_else(|error| overloaded(&error));
            answered.record("http.response.status_code", answer.status().as_u16());
            Ok::<_, Infallible>(answer)
        }
        .instrument(span)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "admin connection ended");
    }
}

fn overloaded(error: &BoxError) -> Page {
    let text = if error.is::<tower::timeout::error::Elapsed>() {
        "the request took too long"
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        "too many requests at once"
    } else {
        "the request could not be read"
    };
    routes::text(StatusCode::SERVICE_UNAVAILABLE, text)
}
