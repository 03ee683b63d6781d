//! Taking connections, for as long as the daemon runs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use super::Listener;
use crate::http::socket::Socket;
use crate::serve::{Shared, connection};

/// A client that does not finish its handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Takes connections until the task is dropped. Each gets a task of its own.
pub(crate) async fn serve(listener: Listener, shared: Arc<Shared>) -> io::Result<()> {
    match listener {
        Listener::Unix { listener, .. } => {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        drop(tokio::spawn(connection(Arc::clone(&shared), Socket::Unix(stream))))
                    }
                    Err(error) => pause(&error).await,
                }
            }
        }
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        no_delay(&stream);
                        drop(tokio::spawn(connection(Arc::clone(&shared), Socket::Tcp(stream))));
                    }
                    Err(error) => pause(&error).await,
                }
            }
        }
        Listener::Tls(listener, acceptor) => {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        no_delay(&stream);
                        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
                        drop(tokio::spawn(async move {
                            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                                Ok(Ok(stream)) => connection(shared, Socket::Tls(Box::new(stream))).await,
                                Ok(Err(error)) => tracing::info!("TLS handshake with {peer}: {error}"),
                                Err(_elapsed) => tracing::info!("TLS handshake with {peer}: took too long"),
                            }
                        }));
                    }
                    Err(error) => pause(&error).await,
                }
            }
        }
    }
}

fn no_delay(stream: &tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("set TCP_NODELAY: {error}");
    }
}

/// Out of descriptors or memory: give what runs time to end, instead of spinning.
async fn pause(error: &io::Error) {
    tracing::warn!("accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
