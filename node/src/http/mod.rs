//! The port for monitoring: `GET /health` and `GET /metrics`, and nothing that changes anything.
//!
//! `commands::run` starts it; of the node it knows only the [`Administration`] that answers.

mod openmetrics;

use crate::{
    admin::{Administration, protocol::Health},
    shutdown::Shutdown,
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hansa_core::{
    code::{Code, Fault},
    limit,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

/// The longest that one connection lives, so that idle or slow ones cannot fill the port.
const CONNECTION: Duration = Duration::from_secs(60);

/// How long the node may take to tell how it is before that itself is a bad sign.
const ANSWER: Duration = Duration::from_secs(5);

/// Listen on `address`.
///
/// # Errors
/// [`Code::PortInUse`], or why it cannot be had.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|error| {
        let fault = Fault::new(Code::PortInUse, format!("http.listen: {address} cannot be had: {error}"));
        fault.help(format!("stop what listens there, or choose another address: --set http.listen={}:0", address.ip()))
    })
}

/// Answer until `shutdown`.
pub async fn serve<A: Administration>(listener: TcpListener, administration: Arc<A>, shutdown: Shutdown) {
    let router = Router::new()
        .route("/health", get(health::<A>))
        .route("/metrics", get(metrics::<A>))
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is GET /health and GET /metrics.\n") })
        .with_state(administration);
    let room = Arc::new(Semaphore::new(limit::HTTP_CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (permit, stream) = tokio::select! {
            () = shutdown.triggered() => return,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => match accepted {
                Some(accepted) => accepted,
                None => continue,
            },
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // What goes wrong on a connection is the other side's affair.
            let _ = timeout(CONNECTION, connection).await;
            drop(permit);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(tokio::sync::OwnedSemaphorePermit, tokio::net::TcpStream)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((permit, stream)),
        Err(error) => {
            tracing::warn!(%error, "the port for monitoring cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn health<A: Administration>(State(administration): State<Arc<A>>) -> impl IntoResponse {
    let health = match timeout(ANSWER, administration.status()).await {
        Ok(Ok(status)) => status.health,
        Ok(Err(fault)) => Health { ok: false, findings: vec![fault] },
        Err(_) => Health {
            ok: false,
            findings: vec![Fault::new(
                Code::Busy,
                format!("the node did not tell its state within {} s", ANSWER.as_secs()),
            )],
        },
    };
    (if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

async fn metrics<A: Administration>(State(administration): State<Arc<A>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, openmetrics::CONTENT_TYPE)], openmetrics::text(&administration.readings().await))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::pretended::Pretended;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    async fn get_path(path: &str) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(listener, Arc::new(Pretended), shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        shutdown.trigger();
        task.await.unwrap();
        text
    }

    #[tokio::test]
    async fn health_is_200_with_its_findings_as_json() {
        let text = get_path("/health").await;
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("{\"ok\":true,\"findings\":["), "{text}");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let text = get_path("/metrics").await;
        assert!(text.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn anything_else_is_not_found() {
        assert!(get_path("/").await.starts_with("HTTP/1.1 404"));
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_key_that_names_it() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let fault = bind(listener.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(fault.code, Code::PortInUse);
        assert!(fault.message.contains("http.listen"), "{fault}");
    }
}
