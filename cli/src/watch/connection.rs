//! Connections: so many at most, and none that takes nothing of what it asked for.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// More wait until one is closed. Systems give a process 256 files, and training needs some.
const CONNECTION_COUNT_MAX: usize = 192;
/// A connection is closed that has not had an answer after this long, whatever it brings;
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(60);
/// over which later nothing has come or gone for this long: longer than any answer takes, and an open page gets a sign of life more often;
const IDLE_MAX: Duration = Duration::from_secs(300);
/// or that takes nothing of what is sent for this long.
const STALLED_MAX: Duration = Duration::from_secs(40);
/// After an error of the system, such as too many open files.
const RETRY_AFTER: Duration = Duration::from_millis(200);

pub struct Listener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(CONNECTION_COUNT_MAX)) }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    // Answers are small and whole.
                    let _ = stream.set_nodelay(true);
                    let idle = Box::pin(sleep(FIRST_ANSWER_MAX));
                    return (Connection { stream, idle, answered: false, stalled: None, _permit: permit }, from);
                }
                Err(_) => sleep(RETRY_AFTER).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    /// Whether something has been sent.
    answered: bool,
    /// While there is no room for what is to be sent.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

fn timed_out<T>(after: &mut Pin<Box<Sleep>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
    after.as_mut().poll(context).map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Ready(read) => {
                if self.answered {
                    self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
                }
                Poll::Ready(read)
            }
            Poll::Pending => timed_out(&mut self.idle, context),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                (self.stalled, self.answered) = (None, true);
                self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
                Poll::Ready(written)
            }
            Poll::Pending => timed_out(self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED_MAX))), context),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
