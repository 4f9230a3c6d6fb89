//! temp
use std::{sync::Arc, time::Duration};
use throughline::{
    event::*,
    kafka::{
        dial::HostPort,
        proxy::{Proxy, settings::*},
    },
};
#[derive(Debug)]
struct Print;
impl Observer for Print {
    fn observe(&self, e: Event) {
        if std::env::var("EV").is_ok() {
            eprintln!("{} {:?}", e.client, e.kind);
        }
    }
    fn wants_records(&self, _: &str, _: i64, _: i64, _: i64) -> bool {
        false
    }
    fn reserve(&self, _: usize) -> Option<Reservation> {
        None
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    tracing_subscriber::fmt().init();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async {
        let (h, p) = a[1].rsplit_once(':').unwrap();
        let lp: u16 = a[2].parse().unwrap();
        let s = Settings {
            bootstrap: vec![HostPort {
                host: h.into(),
                port: p.parse().unwrap(),
            }],
            listen: Listen {
                addresses: vec!["127.0.0.1".parse().unwrap()],
                port: lp,
            },
            broker_listen: Listen {
                addresses: vec!["127.0.0.1".parse().unwrap()],
                port: lp + 1,
            },
            advertise: None,
            tls: None,
            limits: Limits {
                connections: 1000,
                frame_bytes: 100 << 20,
                edit_bytes: 32 << 20,
                in_flight_requests: 4096,
            },
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(5),
        };
        let c = Arc::new(DataplaneCounters::default());
        let m = Arc::new(arc_swap::ArcSwap::from_pointee(Modes {
            default: TopicMode::Observe,
            topics: vec![],
        }));
        let p = Proxy::bind(s, m, c.clone(), Arc::new(Print)).unwrap();
        let hd = p.handle();
        tokio::spawn(async move {
            tokio::signal::ctrl_c().await.ok();
            hd.drain();
            for r in BypassReason::ALL {
                eprintln!("{r:?} {}", c.bypassed(r));
            }
            eprintln!(
                "{} {}",
                c.bytes(Direction::ClientToBroker),
                c.bytes(Direction::BrokerToClient)
            );
        });
        p.run().await;
    });
}
