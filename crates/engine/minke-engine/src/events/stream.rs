//! One client's view of the bus: kept events first, then live ones, until its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Event, matching};
use crate::clock::Moment;
use crate::filters::Filters;

/// Events for one client. [`EventStream::next`] ends with `None` when `until` is reached or the engine shuts down.
#[derive(Debug)]
pub struct EventStream {
    past: VecDeque<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
    until: Option<Moment>,
    filters: Filters,
}

impl EventStream {
    pub(super) fn new(
        past: VecDeque<Arc<Event>>,
        live: broadcast::Receiver<Arc<Event>>,
        until: Option<Moment>,
        filters: Filters,
    ) -> Self {
        Self { past, live, until, filters }
    }

    /// The next event that passes the filters. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.past.pop_front() {
            return Some(event);
        }
        loop {
            let event = match self.until {
                None => self.live.recv().await,
                Some(until) => {
                    let left: Duration = until.since(Moment::now());
                    if left.is_zero() {
                        return None;
                    }
                    match tokio::time::timeout(left, self.live.recv()).await {
                        Ok(received) => received,
                        Err(_elapsed) => return None,
                    }
                }
            };
            match event {
                Ok(event) if matching::passes(&event, &self.filters) => return Some(event),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
