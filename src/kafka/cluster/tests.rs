//! The embedded cluster, directly and through the proxy.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::*;
use crate::{
    event::{Blind, DataplaneCounters},
    kafka::{
        dial::HostPort,
        proxy::{
            Handle, Proxy,
            settings::{
                InjectSettings, Limits, LineageSettings, Listen, Modes, Settings, TopicMode,
            },
        },
    },
};

const ORDERS: Topic = Topic {
    name: "orders",
    partitions: 3,
};

fn host_port(text: &str) -> HostPort {
    let (host, port) = text.rsplit_once(':').unwrap();
    HostPort {
        host: host.into(),
        port: port.parse().unwrap(),
    }
}

/// A proxy on a free port before the cluster: (its address, its handle).
fn proxy(bootstrap: &str) -> (String, Handle) {
    let any = Listen {
        addresses: vec!["127.0.0.1".parse().unwrap()],
        port: 0,
    };
    let settings = Settings {
        bootstrap: bootstrap.split(',').map(host_port).collect(),
        listen: any.clone(),
        broker_listen: any,
        advertise: None,
        tls: None,
        inject: InjectSettings::default(),
        lineage: LineageSettings::default(),
        limits: Limits {
            connections: 100,
            frame_bytes: 100 << 20,
            edit_bytes: 32 << 20,
            in_flight_requests: 4096,
        },
        connect_timeout: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(5),
    };
    let modes = Arc::new(ArcSwap::from_pointee(Modes {
        default: TopicMode::Observe,
        topics: Vec::new(),
    }));
    let counters = Arc::new(DataplaneCounters::default());
    let proxy = Proxy::bind(settings, modes, counters, Arc::new(Blind)).unwrap();
    let (address, handle) = (proxy.local_addresses()[0], proxy.handle());
    tokio::spawn(proxy.run());
    (address.to_string(), handle)
}

/// Publishes 30 records over `bootstrap`, consumes and commits them, and gives their values.
async fn round(bootstrap: &str, group: &str) -> Vec<String> {
    let producer = Producer::connect(bootstrap, "test-producer").unwrap();
    let headers = [("message-id".to_owned(), b"m".to_vec())];
    for n in 0..30 {
        let (key, value) = (format!("k{n}"), format!("v{n}"));
        let record = Outgoing {
            topic: ORDERS.name,
            key: key.as_bytes(),
            value: value.as_bytes(),
            headers: &headers,
        };
        producer.send(&record).await.unwrap();
    }
    producer.close().await.unwrap();
    let consumer = Consumer::subscribe(bootstrap, "test-consumer", group, &[ORDERS.name]).unwrap();
    let mut values = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while values.len() < 30 && tokio::time::Instant::now() < deadline {
        let Some(record) = consumer.next(Duration::from_millis(200)).await.unwrap() else {
            continue;
        };
        assert_eq!(record.headers, headers);
        consumer.processed(&record).unwrap();
        values.push(String::from_utf8(record.value.unwrap()).unwrap());
    }
    assert!(consumer.is_assigned());
    consumer.commit().await.unwrap();
    consumer.close().await.unwrap();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_find_the_embedded_brokers_through_the_proxy() {
    let cluster = Embedded::start(3, &[ORDERS]).unwrap();
    let (address, handle) = proxy(cluster.bootstrap());
    let values = round(&address, "through").await;
    let mut expected: Vec<_> = (0..30).map(|n| format!("v{n}")).collect();
    expected.sort();
    assert_eq!(values, expected);
    let real: Vec<_> = cluster.bootstrap().split(',').map(host_port).collect();
    let brokers = handle.brokers();
    assert_eq!(brokers.len(), 3);
    for (_, advertised, _) in brokers {
        assert!(real.contains(&advertised), "{advertised:?}");
    }

    let direct = Direct::new(cluster.bootstrap());
    let log = direct.log(ORDERS).await.unwrap();
    let committed = direct.committed("through", ORDERS).await.unwrap();
    assert_eq!(log.values().map(|range| range.end).sum::<i64>(), 30);
    for (partition, range) in log {
        assert_eq!(committed[&partition].unwrap_or(0), range.end);
    }
    let other = direct.committed("nobody", ORDERS).await.unwrap();
    assert!(other.values().all(Option::is_none));
    handle.drain();
}
