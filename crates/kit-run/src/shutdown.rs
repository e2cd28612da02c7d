//! "Please stop", told once and heard by everybody who asks.

use std::sync::Arc;

use tokio::sync::watch;

/// Somebody asked the process, or one part of it, to stop. Clones hear the same request, in any thread or runtime.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// The other end of a [`Shutdown`]. Dropping it asks for nothing.
#[derive(Debug, Clone)]
pub struct Trigger(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A shutdown that the caller triggers: for tests and for parts that stop before the process does.
    #[must_use]
    pub fn manual() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(Arc::new(sender)), Self(receiver))
    }

    /// Returns once a stop has been asked for, at once if that was earlier. Never returns otherwise.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|stop| *stop).await.is_err() {
            // The trigger is gone, so nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }

    /// Whether a stop has been asked for, for loops that cannot await.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }
}

impl Trigger {
    /// Asks for the stop. Asking again changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_made_before_anybody_waits_is_heard() {
        let (trigger, shutdown) = Shutdown::manual();
        assert!(!shutdown.is_requested());
        trigger.request();
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_trigger_asks_for_nothing() {
        let (trigger, shutdown) = Shutdown::manual();
        drop(trigger);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), shutdown.requested()).await;
        assert!(waited.is_err(), "a shutdown without a trigger must wait for ever");
    }
}
