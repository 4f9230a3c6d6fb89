//! The OpenAPI document of `/api/v1`, made from the route table so that it cannot forget a path.
//!
//! Must not describe more than the routes answer.

use serde_json::{Map, Value, json};

use super::routes::ROUTES;

/// The document.
pub(super) fn openapi(version: &str) -> Value {
    let mut paths = Map::new();
    for (path, methods) in ROUTES {
        let mut operations = Map::new();
        for method in methods {
            operations.insert(method.to_lowercase(), operation(path));
        }
        paths.insert(path.to_owned(), Value::Object(operations));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Throughline admin API",
            "version": version,
            "description": "What one sidecar saw: figures are this pod's, since start, taken at most a second ago. Of an observer: those of the whole cluster at its last look.",
        },
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

fn operation(path: &str) -> Value {
    let (summary, schema) = match path {
        "/api/v1/slis" => ("SLI pairs with good, events, unknown, objective", "Sli"),
        "/api/v1/groups" => ("consumer groups with members and lag", "Group"),
        "/api/v1/topics" => ("topics with their clients and groups", "Topic"),
        "/api/v1/lineage" => ("which topic the program makes from which", "Edge"),
        "/api/v1/traces" => (
            "records of recorded traces seen lately, newest first; ?trace_id= or ?correlation_id= picks",
            "Sighting",
        ),
        "/api/v1/clients" => ("client programs and what they use", "Client"),
        "/api/v1/connections" => ("open connections", "Connection"),
        "/api/v1/openapi.json" => ("this document", ""),
        "/livez" => ("200 while the process runs", ""),
        "/readyz" => (
            "200 when every gate is open, else 503; ?verbose lists them",
            "",
        ),
        "/metrics" => ("Prometheus text or OpenMetrics by Accept; gzip", ""),
        "/config" => ("effective configuration, secrets redacted", ""),
        "/log-level" => ("body: a level or filter; loopback or token only", ""),
        "/mode" => ("body: a mode; loopback or token only", ""),
        "/drain" => ("stop accepting and end; loopback or token only", ""),
        _ => ("page for people", ""),
    };
    let mut ok = json!({"description": summary});
    if !schema.is_empty()
        && let Some(ok) = ok.as_object_mut()
    {
        let items = json!({"$ref": format!("#/components/schemas/{schema}")});
        let list = json!({"application/json": {"schema": {"type": "array", "items": items}}});
        ok.insert("content".to_owned(), list);
    }
    json!({"summary": summary, "responses": {"200": ok}})
}

fn schemas() -> Value {
    let (text, number, whole) = (
        json!({"type": "string"}),
        json!({"type": "number"}),
        json!({"type": "integer"}),
    );
    let texts = json!({"type": "array", "items": text});
    let maybe = json!({"type": ["number", "null"]});
    let maybe_text = json!({"type": ["string", "null"]});
    json!({
        "Sli": {"type": "object", "properties": {
            "sli": text, "topic": text, "group": text, "stage": text, "good": whole, "events": whole,
            "unknown": whole, "ratio": maybe, "objective": number, "threshold_seconds": maybe,
        }},
        "Group": {"type": "object", "properties": {
            "group": text, "members": {"type": "object", "additionalProperties": whole},
            "assigned_partitions": whole, "commit_interval_seconds": maybe, "poll_gap_seconds": maybe,
            "topics": {"type": "array", "items": {"$ref": "#/components/schemas/GroupTopic"}},
        }},
        "GroupTopic": {"type": "object", "properties": {
            "topic": text, "partitions": whole, "lag_records": whole, "lag_seconds_lower": number,
            "lag_seconds_upper": maybe, "lag_age_seconds": number,
            "states": {"type": "object", "additionalProperties": whole}, "drain_seconds": maybe,
            "time_to_loss_seconds": maybe,
            "positions": {"type": "array", "items": {"$ref": "#/components/schemas/Position"}},
        }},
        "Position": {"type": "object", "properties": {
            "partition": whole, "committed": whole, "end": whole, "lag_records": whole, "delivered": whole,
        }},
        "Topic": {"type": "object", "properties": {
            "topic": text, "producers": whole, "consumers": whole, "groups": texts,
            "coverage_ratio": maybe, "clock_skew_seconds": maybe,
        }},
        "Edge": {"type": "object", "properties": {
            "from": maybe_text, "to": text, "records": whole, "records_per_second": number,
            "mean_seconds": maybe, "evidence": {"type": "object", "additionalProperties": whole},
            "last_seen_ms": whole,
        }},
        "Sighting": {"type": "object", "properties": {
            "at_ms": whole, "seen": text, "trace_id": text, "span_id": text, "parent_span_id": maybe_text,
            "evidence": maybe_text, "correlation_id": text, "topic": text, "partition": whole,
            "offset": {"type": ["integer", "null"]},
        }},
        "Client": {"type": "object", "properties": {
            "client": text, "software": text, "version": text, "connections": whole, "produces": texts,
            "consumes": texts, "groups": texts, "mechanism": text, "principals": texts,
            "failed_authentications": whole,
            "refusals": {"type": "array", "items": {"$ref": "#/components/schemas/Refusal"}},
            "first_seen_ms": whole, "last_seen_ms": whole,
        }},
        "Refusal": {"type": "object", "properties": {
            "api": text, "resource": text, "name": maybe_text, "count": whole, "last_ms": whole,
        }},
        "Connection": {"type": "object", "properties": {
            "id": whole, "peer": text, "broker": text, "broker_address": text, "client": text,
            "software": text, "version": text, "opened_ms": whole, "last_seen_ms": whole,
        }},
    })
}
