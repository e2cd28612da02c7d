//! Conditions, pulses and metrics: what the endpoints read and the tool writes.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::process::Process;

/// How long a work loop may take to answer `/livez`. The kubelet's own default deadline is one second.
const PULSE_DEADLINE: Duration = Duration::from_millis(900);

/// The tool's metrics, conditions and pulses. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Admin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    conditions: Mutex<Vec<Arc<ConditionState>>>,
    pulses: Mutex<Vec<Pulse>>,
    started: AtomicBool,
    paths: Mutex<Vec<(&'static str, Own)>>,
}

/// Takes a value, or says why not.
type Change = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A page that may take its time.
pub(crate) type Coming = Pin<Box<dyn Future<Output = Page> + Send>>;

/// What a path of the tool's own does.
#[derive(Clone)]
pub(crate) enum Own {
    /// Another name for this path.
    Alias(&'static str),
    /// POST notifies.
    Request(Arc<tokio::sync::Notify>),
    /// GET asks for a page; the query is what stands behind `?`.
    Page(Arc<dyn Fn(&str) -> Coming + Send + Sync>),
    /// GET tells the value, PUT changes it.
    Setting(Arc<dyn Fn() -> String + Send + Sync>, Change),
}

impl std::fmt::Debug for Own {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Own")
    }
}

/// What a tool answers on a path of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 200 to 599.
    pub status: u16,
    /// As HTTP's header has it.
    pub content_type: &'static str,
    /// All of it.
    pub body: String,
}

#[derive(Debug)]
struct ConditionState {
    name: &'static str,
    /// `None` when met, else the reason why not.
    unmet: Mutex<Option<String>>,
}

/// Something that must hold for the tool to be ready. Unmet at first, and again whenever the tool says so.
#[derive(Debug, Clone)]
pub struct Condition(Arc<ConditionState>);

/// Asks a work loop whether it still turns.
///
/// The loop awaits [`Pulse::beat`] beside its work. The future completes only while the loop polls it, so a loop that
/// hangs does not answer.
#[derive(Debug, Clone)]
pub struct Pulse {
    name: &'static str,
    asked: Arc<watch::Sender<u64>>,
    answered: Arc<watch::Sender<u64>>,
}

impl Admin {
    /// The state of one tool, with `podkit_build_info{tool,version,revision}` already among its metrics.
    #[must_use]
    pub fn new(tool: &'static str) -> Self {
        let mut registry = Registry::default();
        let build = Family::<[(&'static str, &'static str); 3], Gauge>::default();
        let revision = option_env!("PODKIT_REVISION").unwrap_or("unknown");
        let labels = [("tool", tool), ("version", env!("CARGO_PKG_VERSION")), ("revision", revision)];
        build.get_or_create(&labels).set(1);
        registry.register("podkit_build_info", "Always 1; the labels tell which build runs", build);
        registry.register_collector(Box::new(Process::open()));
        Self(Arc::new(Inner {
            registry: Mutex::new(registry),
            conditions: Mutex::default(),
            pulses: Mutex::default(),
            started: AtomicBool::new(false),
            paths: Mutex::default(),
        }))
    }

    /// Registers metrics. Names are written whole, counters without their `_total`.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut lock(&self.0.registry))
    }

    /// A new condition of readiness, unmet until told otherwise.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        let state = Arc::new(ConditionState { name, unmet: Mutex::new(Some("not yet".to_owned())) });
        lock(&self.0.conditions).push(state.clone());
        Condition(state)
    }

    /// A new pulse for a work loop that `/livez` asks.
    #[must_use]
    pub fn pulse(&self, name: &'static str) -> Pulse {
        let sender = || Arc::new(watch::Sender::new(0));
        let pulse = Pulse { name, asked: sender(), answered: sender() };
        lock(&self.0.pulses).push(pulse.clone());
        pulse
    }

    /// Lets a neighbour in the pod ask for something: POST on `path`, taken from loopback addresses only, whatever
    /// address the listener has. Each one notifies what is returned.
    #[must_use]
    pub fn on_post(&self, path: &'static str) -> Arc<tokio::sync::Notify> {
        let notify = Arc::new(tokio::sync::Notify::new());
        self.add(path, Own::Request(Arc::clone(&notify)));
        notify
    }

    /// Answers GET on `path` by `page`, which is given the query.
    pub fn page(&self, path: &'static str, page: impl Fn(&str) -> Page + Send + Sync + 'static) {
        self.page_after(path, move |query| std::future::ready(page(query)));
    }

    /// As [`Admin::page`], where something has to be asked first. Health and metrics are answered meanwhile.
    pub fn page_after<F: Future<Output = Page> + Send + 'static>(
        &self,
        path: &'static str,
        page: impl Fn(&str) -> F + Send + Sync + 'static,
    ) {
        self.add(path, Own::Page(Arc::new(move |query| Box::pin(page(query)))));
    }

    /// Answers `path` as `of`, for peers' names of the same thing.
    pub fn alias(&self, path: &'static str, of: &'static str) {
        self.add(path, Own::Alias(of));
    }

    /// Tells a value by GET on `path`, and lets neighbours in the pod change it by PUT: from loopback addresses only, as with
    /// [`Admin::on_post`]. A refusal's text is the answer to the neighbour.
    pub fn setting(
        &self,
        path: &'static str,
        tell: impl Fn() -> String + Send + Sync + 'static,
        change: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.add(path, Own::Setting(Arc::new(tell), Arc::new(change)));
    }

    fn add(&self, path: &'static str, own: Own) {
        lock(&self.0.paths).push((path, own));
    }

    /// What the tool does on `path`, if anything.
    pub(crate) fn own(&self, path: &str) -> Option<Own> {
        lock(&self.0.paths).iter().find(|(known, _)| *known == path).map(|(_, own)| own.clone())
    }

    /// The conditions that are not met, one line each; nothing when ready.
    #[must_use]
    pub fn not_ready(&self) -> String {
        let mut lines = String::new();
        for condition in lock(&self.0.conditions).iter() {
            if let Some(reason) = lock(&condition.unmet).as_deref() {
                let _ = writeln!(lines, "{}: {reason}", condition.name);
            }
        }
        if lines.is_empty() {
            self.0.started.store(true, Ordering::Relaxed);
        }
        lines
    }

    /// As [`Admin::not_ready`], but once ready it stays so.
    pub(crate) fn not_started(&self) -> String {
        if self.0.started.load(Ordering::Relaxed) { String::new() } else { self.not_ready() }
    }

    /// The work loops that did not answer in time, one line each; nothing when all did.
    pub(crate) async fn not_alive(&self) -> String {
        let pulses = lock(&self.0.pulses).clone();
        let mut lines = String::new();
        for pulse in pulses {
            if !pulse.answers().await {
                let _ = writeln!(lines, "{}: no answer within {} ms", pulse.name, PULSE_DEADLINE.as_millis());
            }
        }
        lines
    }

    /// The metrics in OpenMetrics text.
    ///
    /// # Errors
    /// When a metric of the tool's own cannot be written.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &lock(&self.0.registry))?;
        Ok(text)
    }
}

impl Condition {
    /// The condition holds.
    pub fn met(&self) {
        *lock(&self.0.unmet) = None;
    }

    /// The condition does not hold, for the given reason.
    pub fn unmet(&self, reason: impl Into<String>) {
        *lock(&self.0.unmet) = Some(reason.into());
    }
}

impl Pulse {
    /// Waits until somebody asks, and answers. Cancel-safe: an unfinished one answers nothing and loses nothing.
    pub async fn beat(&self) {
        let mut asked = self.asked.subscribe();
        let answered = *self.answered.borrow();
        // The sender lives in `self`, so the channel cannot be closed.
        if let Ok(now) = asked.wait_for(|asked| *asked > answered).await {
            self.answered.send_replace(*now);
        }
    }

    async fn answers(&self) -> bool {
        let mut answered = self.answered.subscribe();
        let mut question = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            question = *asked;
        });
        let answer = answered.wait_for(|answered| *answered >= question);
        matches!(tokio::time::timeout(PULSE_DEADLINE, answer).await, Ok(Ok(_)))
    }
}

/// A poisoned lock is used all the same: every critical section here leaves whole values behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_can_be_lost_and_startup_cannot() {
        let admin = Admin::new("test");
        let condition = admin.condition("certificate");
        assert_eq!(admin.not_started(), "certificate: not yet\n");
        condition.met();
        assert_eq!((admin.not_ready().as_str(), admin.not_started().as_str()), ("", ""));
        condition.unmet("expired on 2026-01-01");
        assert_eq!(admin.not_ready(), "certificate: expired on 2026-01-01\n");
        assert_eq!(admin.not_started(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_does_not_turn_is_not_alive() {
        let admin = Admin::new("test");
        let pulse = admin.pulse("follow loop");
        assert_eq!(admin.not_alive().await, "follow loop: no answer within 900 ms\n");
        let turning = async {
            loop {
                pulse.beat().await
            }
        };
        tokio::select! {
            () = turning => {}
            lines = admin.not_alive() => assert_eq!(lines, ""),
        }
    }

    #[test]
    fn the_build_is_among_the_metrics() {
        let metrics = Admin::new("test").metrics().unwrap();
        let expected = format!("podkit_build_info{{tool=\"test\",version=\"{}\",", env!("CARGO_PKG_VERSION"));
        assert!(metrics.contains(&expected), "{metrics}");
    }
}
