//! Pages and paths beside health and metrics: other programs' names for them, ghostunnel's JSON, the log level.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kit_admin::{Admin, Page};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::app_check::AppCheck;
use crate::config::DoorConfig;
use crate::metrics::Metrics;
use crate::times::Times;

/// Names that other programs have for ours.
const ALIASES: [(&str, &str); 8] = [
    ("/healthz", "/livez"),
    ("/liveness", "/livez"),
    ("/ping", "/livez"),
    ("/readiness", "/readyz"),
    ("/startup", "/startupz"),
    ("/_metrics/prometheus", "/metrics"),
    ("/ready", "/readyz"),
    ("/live", "/livez"),
];

/// Threads that are there without any connection: this one, signals, the workers. For ghostunnel's count of tasks.
const TASKS: i64 = 4;

/// Adds all of them. What is returned is notified by POST on `/reload`.
pub(crate) fn add(admin: &Admin, config: &DoorConfig, metrics: &Arc<Metrics>, check: AppCheck) -> Arc<Notify> {
    for (path, of) in ALIASES {
        admin.alias(path, of);
    }
    admin.page("/version", |_| text(200, format!("tls-ambassador {}\n", env!("CARGO_PKG_VERSION"))));
    let level = || kit_run::log_level().unwrap_or_default();
    admin.setting("/log-level", level, |value| kit_run::set_log_level(value).map_err(str::to_owned));
    let (asked, numbers) = (admin.clone(), Arc::clone(metrics));
    let pairs: Vec<(String, String)> =
        config.pairs.iter().map(|pair| (pair.listen.to_string(), pair.target.to_string())).collect();
    let ghostunnel = config.ghostunnel;
    admin.page_after("/_status", move |_| {
        let (asked, numbers, pairs, check) = (asked.clone(), Arc::clone(&numbers), pairs.clone(), check.clone());
        async move {
            let app = check.dial().await.err();
            let mut page = status(&asked, &numbers, &pairs, app);
            if ghostunnel {
                in_its_words(&mut page);
            }
            json_page(if page["ok"] == true { 200 } else { 503 }, &page)
        }
    });
    let (asked, numbers) = (admin.clone(), Arc::clone(metrics));
    admin.page("/_metrics", move |query| match query {
        "" | "format=json" => json_metrics(&numbers),
        "format=prometheus" => text(200, asked.metrics().unwrap_or_default()),
        _ => text(400, "format=json or format=prometheus\n".to_owned()),
    });
    let numbers = Arc::clone(metrics);
    admin.page("/_metrics/json", move |_| json_metrics(&numbers));
    if config.ghostunnel {
        let numbers = Arc::clone(metrics);
        let tasks =
            move |_: &str| text(200, format!("goroutine profile: total {}\n", TASKS + numbers.connections_open.get()));
        admin.page("/debug/pprof/goroutine", tasks);
    }
    admin.on_post("/reload")
}

fn text(status: u16, body: String) -> Page {
    Page { status, content_type: "text/plain; charset=utf-8", body }
}

fn json_page(status: u16, value: &Value) -> Page {
    Page { status, content_type: "application/json", body: format!("{value}\n") }
}

/// ghostunnel's word for readiness. Its `backend_ok` is what `--target-status` says here, which is part of readiness; `app` is
/// what was wrong when it was asked just now.
fn status(admin: &Admin, metrics: &Metrics, pairs: &[(String, String)], app: Option<String>) -> Value {
    let app = app.map(|reason| format!("app: {reason}"));
    let problems = admin.not_ready();
    let reasons: Vec<&str> = problems.lines().chain(app.as_deref()).collect();
    let ok = reasons.is_empty();
    let app = reasons.iter().find(|reason| reason.starts_with("app:"));
    let word = match metrics.drain_state.get() {
        0 if ok => "listening",
        0 => "critical",
        _ => "stopping",
    };
    let mut page = json!({
        "ok": ok,
        "status": word,
        "backend_ok": app.is_none(),
        "backend_status": if app.is_none() { "ok" } else { "critical" },
        "message": reasons.join("; "),
        "time": unix(SystemTime::now()),
        "last_reload": metrics.last_reload(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let (Some(object), Some((listen, target))) = (page.as_object_mut(), pairs.first()) {
        object.insert("listen_address".to_owned(), listen.clone().into());
        object.insert("forward_address".to_owned(), target.clone().into());
        if let Some(reason) = app {
            object.insert("backend_error".to_owned(), (*reason).into());
        }
    }
    page
}

/// It tells what the listener does in its message, and all the rest in one word.
fn in_its_words(page: &mut Value) {
    let word = if page["ok"] == true { "ok" } else { "critical" };
    let message = if page["status"] == "stopping" { "stopping" } else { "listening" };
    (page["status"], page["message"]) = (word.into(), message.into());
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// ghostunnel's list of metrics under its names.
fn json_metrics(metrics: &Metrics) -> Page {
    let now = unix(SystemTime::now()) as u64;
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut accept = metrics.accepted.counts();
    // There it counts what could not be accepted as well.
    accept[3] += metrics.accept_errors.get();
    for (name, count) in ["total", "success", "timeout", "error"].into_iter().zip(accept) {
        all.push((format!("accept.{name}"), count.into()));
    }
    all.push(("conn.open".to_owned(), metrics.connections_open.get().into()));
    for (name, count) in ["timeout", "error"].into_iter().zip(metrics.carried.counts()) {
        all.push((format!("conn.{name}"), count.into()));
    }
    for (name, times) in [("lifetime", &metrics.connection_seconds), ("handshake", &metrics.handshake_seconds)] {
        all.extend(summary(name, times));
    }
    let item = |(name, value): (String, Value)| json!({"timestamp": now, "metric": format!("ghostunnel.{name}"), "value": value});
    json_page(200, &all.into_iter().map(item).collect())
}

/// In nanoseconds, as ghostunnel has them.
fn summary(name: &str, times: &Times) -> Vec<(String, Value)> {
    let seen = times.summary();
    let nanoseconds = |seconds: f64| Value::from((seconds * 1e9) as u64);
    let mean = if seen.count == 0 { 0.0 } else { seen.sum / seen.count as f64 };
    let mut all = vec![
        ("count".to_owned(), seen.count.into()),
        ("min".to_owned(), nanoseconds(seen.shortest)),
        ("max".to_owned(), nanoseconds(seen.longest)),
        ("mean".to_owned(), nanoseconds(mean)),
    ];
    for share in [50, 75, 95, 99] {
        all.push((format!("{share}-percentile"), nanoseconds(times.percentile(f64::from(share) / 100.0))));
    }
    all.into_iter().map(|(what, value)| (format!("conn.{name}.{what}"), value)).collect()
}
