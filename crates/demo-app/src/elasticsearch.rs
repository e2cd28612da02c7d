//! One node of Elasticsearch 7, as far as health checks, exporters and the examples touch it.
//!
//! The names and shapes of the fields are the product's; the numbers are made up, except those that move: the age of
//! the process and the searches counted. `?format=json` and `?v` work on `/_cat/...`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

const CLUSTER: &str = "docker-cluster";
const NODE: &str = "demo-0";
const NODE_ID: &str = "dEm0n0dE0fP0dk1tAAAAAA";
const INDEX: &str = "articles";
const DOCUMENTS: [&str; 3] = ["sidecars carry logs", "ambassadors carry requests", "adapters carry formats"];
const STORE_BYTES: u64 = 12_345;
const HEAP_BYTES: u64 = 1 << 29;
const HEAP_USED_BYTES: u64 = 3 << 26;

/// The node's state.
#[derive(Debug)]
pub(crate) struct Elasticsearch {
    started: Instant,
    searches: AtomicU64,
}

/// What a path answers.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Json(Value),
    /// The tables of `/_cat`.
    Text(String),
}

impl Elasticsearch {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), searches: AtomicU64::new(0) }
    }

    /// The answer to a GET or POST of `path`, or nothing where this node has no such endpoint.
    pub(crate) fn answer(&self, path: &str, query: &str) -> Option<Answer> {
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let json = match path {
            "/" => info(),
            "/_cluster/health" => health(),
            "/_cluster/settings" => json!({"persistent": {}, "transient": {}}),
            "/_cluster/stats" => self.cluster_stats(),
            "/_nodes" => json!({"_nodes": succeeded(1), "cluster_name": CLUSTER, "nodes": {NODE_ID: identity()}}),
            "/_nodes/stats" | "/_nodes/_local/stats" => self.node_stats(),
            "/_stats" | "/_all/_stats" => self.index_stats(),
            "/_aliases" | "/_alias" => json!({INDEX: {"aliases": {}}}),
            "/_search" => self.search(),
            cat if cat.starts_with("/_cat/") => return table(&cat["/_cat/".len()..], query),
            other => match other.strip_prefix(&format!("/{INDEX}/"))? {
                "_search" => self.search(),
                "_count" => json!({"count": DOCUMENTS.len(), "_shards": succeeded(1)}),
                "_stats" => self.index_stats(),
                _ => return None,
            },
        };
        Some(Answer::Json(json))
    }

    fn search(&self) -> Value {
        self.searches.fetch_add(1, Ordering::Relaxed);
        let hit = |(number, text): (usize, &&str)| json!({"_index": INDEX, "_type": "_doc", "_id": number.to_string(), "_score": 1.0, "_source": {"text": text}});
        let hits: Vec<Value> = DOCUMENTS.iter().enumerate().map(hit).collect();
        json!({
            "took": 1,
            "timed_out": false,
            "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
            "hits": {"total": {"value": DOCUMENTS.len(), "relation": "eq"}, "max_score": 1.0, "hits": hits},
        })
    }

    /// The `indices` object that nodes, indices and totals share.
    fn indices(&self) -> Value {
        let searches = self.searches.load(Ordering::Relaxed);
        json!({
            "docs": {"count": DOCUMENTS.len(), "deleted": 0},
            "store": {"size_in_bytes": STORE_BYTES, "total_data_set_size_in_bytes": STORE_BYTES, "reserved_in_bytes": 0},
            "indexing": {
                "index_total": DOCUMENTS.len(), "index_time_in_millis": 9, "index_current": 0, "index_failed": 0,
                "delete_total": 0, "delete_time_in_millis": 0, "delete_current": 0, "noop_update_total": 0,
                "is_throttled": false, "throttle_time_in_millis": 0,
            },
            "get": {
                "total": 0, "time_in_millis": 0, "exists_total": 0, "exists_time_in_millis": 0,
                "missing_total": 0, "missing_time_in_millis": 0, "current": 0,
            },
            "search": {
                "open_contexts": 0, "query_total": searches, "query_time_in_millis": searches, "query_current": 0,
                "fetch_total": searches, "fetch_time_in_millis": searches, "fetch_current": 0,
                "scroll_total": 0, "scroll_time_in_millis": 0, "scroll_current": 0,
                "suggest_total": 0, "suggest_time_in_millis": 0, "suggest_current": 0,
            },
            "merges": {
                "current": 0, "current_docs": 0, "current_size_in_bytes": 0, "total": 0, "total_time_in_millis": 0,
                "total_docs": 0, "total_size_in_bytes": 0, "total_stopped_time_in_millis": 0,
                "total_throttled_time_in_millis": 0, "total_auto_throttle_in_bytes": 20_971_520,
            },
            "refresh": {"total": 4, "total_time_in_millis": 7, "external_total": 3, "external_total_time_in_millis": 8, "listeners": 0},
            "flush": {"total": 1, "periodic": 0, "total_time_in_millis": 2},
            "warmer": {"current": 0, "total": 1, "total_time_in_millis": 0},
            "query_cache": {
                "memory_size_in_bytes": 0, "total_count": 0, "hit_count": 0, "miss_count": 0,
                "cache_size": 0, "cache_count": 0, "evictions": 0,
            },
            "fielddata": {"memory_size_in_bytes": 0, "evictions": 0},
            "completion": {"size_in_bytes": 0},
            "segments": {
                "count": 1, "memory_in_bytes": 1_364, "terms_memory_in_bytes": 736, "stored_fields_memory_in_bytes": 488,
                "term_vectors_memory_in_bytes": 0, "norms_memory_in_bytes": 64, "points_memory_in_bytes": 0,
                "doc_values_memory_in_bytes": 76, "index_writer_memory_in_bytes": 0, "version_map_memory_in_bytes": 0,
                "fixed_bit_set_memory_in_bytes": 0, "max_unsafe_auto_id_timestamp": -1, "file_sizes": {},
            },
            "translog": {
                "operations": 0, "size_in_bytes": 55, "uncommitted_operations": 0, "uncommitted_size_in_bytes": 55,
                "earliest_last_modified_age": 0,
            },
            "request_cache": {"memory_size_in_bytes": 0, "evictions": 0, "hit_count": 0, "miss_count": 0},
            "recovery": {"current_as_source": 0, "current_as_target": 0, "throttle_time_in_millis": 0},
        })
    }

    fn node_stats(&self) -> Value {
        let mut node = identity();
        let age = millis(self.started.elapsed());
        if let Value::Object(fields) = &mut node {
            fields.insert("timestamp".into(), json!(now()));
            fields.insert("indices".into(), self.indices());
            fields.insert("os".into(), os());
            fields.insert("process".into(), process(age));
            fields.insert("jvm".into(), jvm(age));
            fields.insert("thread_pool".into(), thread_pools(self.searches.load(Ordering::Relaxed)));
            fields.insert("fs".into(), file_systems());
            fields.insert("transport".into(), transport());
            fields.insert("http".into(), json!({"current_open": 1, "total_opened": 1}));
            fields.insert("breakers".into(), breakers());
        }
        json!({"_nodes": succeeded(1), "cluster_name": CLUSTER, "nodes": {NODE_ID: node}})
    }

    fn index_stats(&self) -> Value {
        let both = json!({"primaries": self.indices(), "total": self.indices()});
        let mut index = both.clone();
        if let Value::Object(fields) = &mut index {
            fields.insert("uuid".into(), json!("aRt1cLe5AAAAAAAAAAAAAA"));
        }
        json!({"_shards": succeeded(2), "_all": both, "indices": {INDEX: index}})
    }

    fn cluster_stats(&self) -> Value {
        json!({
            "_nodes": succeeded(1), "cluster_name": CLUSTER, "timestamp": now(), "status": "yellow",
            "indices": {"count": 1, "shards": {"total": 1, "primaries": 1}, "docs": {"count": DOCUMENTS.len(), "deleted": 0}},
            "nodes": {"count": {"total": 1, "data": 1, "master": 1}, "versions": ["7.13.1"]},
        })
    }
}

fn info() -> Value {
    json!({
        "name": NODE,
        "cluster_name": CLUSTER,
        "cluster_uuid": "cLu5terPodk1tAAAAAAAAA",
        "version": {
            "number": "7.13.1", "build_flavor": "default", "build_type": "docker",
            "build_hash": "0000000000000000000000000000000000000000", "build_date": "2021-05-28T17:40:59.346932922Z",
            "build_snapshot": false, "lucene_version": "8.8.2", "minimum_wire_compatibility_version": "6.8.0",
            "minimum_index_compatibility_version": "6.0.0-beta1",
        },
        "tagline": "You Know, for Search",
    })
}

/// One primary without a place for its replica: yellow, as every single node is.
fn health() -> Value {
    json!({
        "cluster_name": CLUSTER, "status": "yellow", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1,
        "active_primary_shards": 1, "active_shards": 1, "relocating_shards": 0, "initializing_shards": 0,
        "unassigned_shards": 1, "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0, "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 50.0,
    })
}

fn succeeded(total: u64) -> Value {
    json!({"total": total, "successful": 1, "failed": 0})
}

fn identity() -> Value {
    json!({
        "name": NODE, "transport_address": "127.0.0.1:9300", "host": "127.0.0.1", "ip": "127.0.0.1:9300",
        "roles": ["data", "ingest", "master"], "attributes": {}, "version": "7.13.1",
    })
}

fn os() -> Value {
    json!({
        "timestamp": now(),
        "cpu": {"percent": 7, "load_average": {"1m": 0.5, "5m": 0.4, "15m": 0.3}},
        "mem": {
            "total_in_bytes": 4_294_967_296_u64, "free_in_bytes": 1_073_741_824, "used_in_bytes": 3_221_225_472_u64,
            "free_percent": 25, "used_percent": 75,
        },
        "swap": {"total_in_bytes": 0, "free_in_bytes": 0, "used_in_bytes": 0},
    })
}

fn process(age: u64) -> Value {
    json!({
        "timestamp": now(), "open_file_descriptors": 256, "max_file_descriptors": 1_048_576,
        "cpu": {"percent": 1, "total_in_millis": age / 20}, "mem": {"total_virtual_in_bytes": 5_368_709_120_u64},
    })
}

fn jvm(age: u64) -> Value {
    let pool = |used: u64, max: u64| json!({"used_in_bytes": used, "max_in_bytes": max, "peak_used_in_bytes": used, "peak_max_in_bytes": max});
    let collector = |count: u64| json!({"collection_count": count, "collection_time_in_millis": 12 * count});
    let buffer = |bytes: u64| json!({"count": 4, "used_in_bytes": bytes, "total_capacity_in_bytes": bytes});
    json!({
        "timestamp": now(),
        "uptime_in_millis": age,
        "mem": {
            "heap_used_in_bytes": HEAP_USED_BYTES, "heap_used_percent": 100 * HEAP_USED_BYTES / HEAP_BYTES,
            "heap_committed_in_bytes": HEAP_BYTES, "heap_max_in_bytes": HEAP_BYTES,
            "non_heap_used_in_bytes": 120_000_000, "non_heap_committed_in_bytes": 125_000_000,
            "pools": {
                "young": pool(HEAP_USED_BYTES / 2, 0), "survivor": pool(HEAP_USED_BYTES / 8, 0),
                "old": pool(HEAP_USED_BYTES / 8 * 3, HEAP_BYTES),
            },
        },
        "threads": {"count": 40, "peak_count": 42},
        "gc": {"collectors": {"young": collector(9), "old": collector(0)}},
        "buffer_pools": {"mapped": buffer(12_345), "direct": buffer(1_048_576)},
        "classes": {"current_loaded_count": 22_000, "total_loaded_count": 22_000, "total_unloaded_count": 0},
    })
}

fn thread_pools(searches: u64) -> Value {
    let pool = |completed: u64| json!({"threads": 2, "queue": 0, "active": 0, "rejected": 0, "largest": 2, "completed": completed});
    json!({"generic": pool(100), "get": pool(0), "management": pool(30), "refresh": pool(4), "search": pool(searches), "write": pool(3)})
}

fn file_systems() -> Value {
    let (total, free) = (10_u64 << 30, 7_u64 << 30);
    json!({
        "timestamp": now(),
        "total": {"total_in_bytes": total, "free_in_bytes": free, "available_in_bytes": free},
        "data": [{
            "path": "/usr/share/elasticsearch/data/nodes/0", "mount": "/ (overlay)", "type": "overlay",
            "total_in_bytes": total, "free_in_bytes": free, "available_in_bytes": free,
        }],
        "io_stats": {},
    })
}

fn transport() -> Value {
    json!({
        "server_open": 0, "total_outbound_connections": 0, "rx_count": 0, "rx_size_in_bytes": 0, "tx_count": 0, "tx_size_in_bytes": 0,
    })
}

fn breakers() -> Value {
    let breaker = |share: u64, used: u64| json!({"limit_size_in_bytes": HEAP_BYTES / 100 * share, "estimated_size_in_bytes": used, "overhead": 1.0, "tripped": 0});
    json!({
        "request": breaker(60, 0), "fielddata": breaker(40, 0), "in_flight_requests": breaker(100, 0),
        "accounting": breaker(100, 1_364), "parent": breaker(95, HEAP_USED_BYTES),
    })
}

/// One of the `/_cat` tables: text in columns, with a head for `?v`, or JSON for `?format=json`.
fn table(name: &str, query: &str) -> Option<Answer> {
    let count = DOCUMENTS.len().to_string();
    let row: &[(&str, &str)] = match name {
        "health" => &[
            ("cluster", CLUSTER),
            ("status", "yellow"),
            ("node.total", "1"),
            ("node.data", "1"),
            ("shards", "1"),
            ("pri", "1"),
            ("relo", "0"),
            ("init", "0"),
            ("unassign", "1"),
            ("active_shards_percent", "50.0%"),
        ],
        "nodes" => &[
            ("ip", "127.0.0.1"),
            ("heap.percent", "37"),
            ("ram.percent", "75"),
            ("cpu", "7"),
            ("node.role", "dim"),
            ("master", "*"),
            ("name", NODE),
        ],
        "indices" => &[
            ("health", "yellow"),
            ("status", "open"),
            ("index", INDEX),
            ("pri", "1"),
            ("rep", "1"),
            ("docs.count", &count),
            ("docs.deleted", "0"),
            ("store.size", "12kb"),
            ("pri.store.size", "12kb"),
        ],
        "shards" => &[
            ("index", INDEX),
            ("shard", "0"),
            ("prirep", "p"),
            ("state", "STARTED"),
            ("docs", &count),
            ("store", "12345"),
            ("ip", "127.0.0.1"),
            ("node", NODE),
        ],
        "count" => &[("count", &count)],
        _ => return None,
    };
    let asked = |flag: &str| query.split('&').any(|part| part == flag);
    if asked("format=json") {
        let fields = row.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
        return Some(Answer::Json(Value::Array(vec![Value::Object(fields.collect())])));
    }
    let (mut head, mut body) = (String::new(), String::new());
    for (name, value) in row {
        let width = if asked("v") || asked("v=true") { name.len().max(value.len()) } else { value.len() };
        head.push_str(&format!("{name:width$} "));
        body.push_str(&format!("{value:width$} "));
    }
    let head = if asked("v") || asked("v=true") { format!("{}\n", head.trim_end()) } else { String::new() };
    Some(Answer::Text(format!("{head}{}\n", body.trim_end())))
}

/// One line of the server's JSON log.
pub(crate) fn log_line(stamp: &str, number: u64, last: bool) -> String {
    let (component, message) = match (number, last) {
        (_, true) => ("o.e.n.Node", "stopping ...".to_owned()),
        (1, _) => ("o.e.n.Node", "started".to_owned()),
        _ => ("o.e.c.r.a.DiskThresholdMonitor", format!("line {number}: disk usage is below the low watermark")),
    };
    let fields = [
        ("type", "server"),
        ("timestamp", stamp),
        ("level", "INFO"),
        ("component", component),
        ("cluster.name", CLUSTER),
        ("node.name", NODE),
        ("message", &message),
    ];
    // Written by hand because the product keeps this order, which a map would not.
    let fields = fields.map(|(name, value)| format!("{}: {}", json!(name), json!(value)));
    format!("{{{}}}", fields.join(", "))
}

fn now() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(path: &str) -> Value {
        match Elasticsearch::new().answer(path, "") {
            Some(Answer::Json(value)) => value,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn the_node_stats_hold_what_exporters_read() {
        let stats = json_of("/_nodes/stats");
        let node = &stats["nodes"][NODE_ID];
        assert_eq!(node["name"], NODE);
        assert_eq!(node["jvm"]["mem"]["heap_max_in_bytes"], HEAP_BYTES);
        assert_eq!(node["indices"]["docs"]["count"], 3);
        assert!(node["breakers"]["parent"]["limit_size_in_bytes"].is_u64());
        assert_eq!(json_of("/_nodes/_local/stats")["cluster_name"], json_of("/")["cluster_name"]);
    }

    #[test]
    fn searches_are_counted() {
        let node = Elasticsearch::new();
        for _ in 0..2 {
            let Some(Answer::Json(found)) = node.answer("/articles/_search", "q=logs") else { panic!("no answer") };
            assert_eq!(found["hits"]["total"]["value"], 3);
        }
        assert_eq!(node.indices()["search"]["query_total"], 2);
    }

    #[test]
    fn cat_is_a_table_with_a_head_on_request_or_json() {
        let node = Elasticsearch::new();
        let text = |query| match node.answer("/_cat/count", query) {
            Some(Answer::Text(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(""), "3\n");
        assert_eq!(text("v"), "count\n3\n");
        assert_eq!(node.answer("/_cat/count", "format=json"), Some(Answer::Json(json!([{"count": "3"}]))));
        assert_eq!(node.answer("/_cat/nothing", ""), None);
        assert_eq!(node.answer("/nothing/_search", ""), None);
    }

    #[test]
    fn log_lines_are_json_in_the_products_order() {
        let line = log_line("2022-12-01T16:25:21,120Z", 2, false);
        assert!(
            line.starts_with(r#"{"type": "server", "timestamp": "2022-12-01T16:25:21,120Z", "level": "INFO", "#),
            "{line}"
        );
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(parsed["message"], "line 2: disk usage is below the low watermark");
    }
}
