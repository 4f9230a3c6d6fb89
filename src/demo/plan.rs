//! What the services of the demo do: which orders there are, which fail, which go out twice, who dawdles when.
//!
//! Here, apart from the services, so that all of it follows from one seed. Must not be read by anything that shows or checks
//! a figure: those come from the traffic.

use std::{fmt::Write as _, time::Duration};

/// How often checkout publishes; the orders of one tick leave together.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Fulfilment's cycle, counted from the first order. The last quarter and more of it drains what the slow part piled up.
const CYCLE: Duration = Duration::from_secs(18);
const SLOW_FROM: Duration = Duration::from_secs(3);
const SLOW_UNTIL: Duration = Duration::from_secs(9);
const SLOW: Duration = Duration::from_millis(120);

/// Everything that looks like chance, from one seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    seed: u64,
}

/// An order to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) value: String,
    /// Whether checkout sends it again, as a program does that lost the first answer.
    pub(super) twice: bool,
}

/// Why billing gives up on an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) exception: &'static str,
    pub(super) message: &'static str,
}

const UNANSWERED: Fault = Fault {
    exception: "java.net.SocketTimeoutException",
    message: "card processor did not answer in 2000 ms",
};
const INVALID: Fault = Fault {
    exception: "com.example.billing.InvalidOrderException",
    message: "total does not match the items",
};

impl Plan {
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Orders in a tick: 2 to 4, 30 a second on average.
    pub(super) fn orders_in_tick(self, tick: u64) -> u64 {
        self.draw(tick, 1) % 3 + 2
    }

    /// The order of this number.
    pub(super) fn order(self, number: u64) -> Order {
        let id = format!("o-{:06}-{:04x}", number, self.draw(number, 2) & 0xffff);
        let sku = sku(self.draw(number, 3));
        let customer = self.draw(number, 4) % 500;
        let quantity = self.draw(number, 5) % 4 + 1;
        let total_cents = quantity * (self.draw(number, 6) % 9_000 + 990);
        let mut value = String::new();
        // Writing to a string cannot fail.
        write!(
            value,
            r#"{{"order_id":"{id}","customer":"c-{customer:03}","sku":"{sku}","quantity":{quantity},"total_cents":{total_cents},"currency":"EUR"}}"#
        )
        .ok();
        let twice = self.draw(number, 7) % 100 < 2;
        Order { id, value, twice }
    }

    /// Why billing fails on the order of this key, if it does: one in 33, and again whenever it is tried again.
    pub(super) fn fault(self, key: &[u8]) -> Option<Fault> {
        // FNV-1a.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let drawn = self.draw(hash, 8);
        match drawn % 66 {
            0 => Some(UNANSWERED),
            33 => Some(INVALID),
            _ => None,
        }
    }

    /// Time fulfilment takes for one order, `since` the first one.
    pub(super) fn fulfilment_work(self, since: Duration, draining: bool) -> Duration {
        let in_cycle = since.as_millis() % CYCLE.as_millis();
        let slow = (SLOW_FROM.as_millis()..SLOW_UNTIL.as_millis()).contains(&in_cycle);
        if slow && !draining {
            SLOW
        } else {
            Duration::from_millis(5)
        }
    }

    /// A number that depends on nothing but its arguments and the seed (splitmix64).
    const fn draw(self, number: u64, purpose: u64) -> u64 {
        let mut z = self
            .seed
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_add(purpose.wrapping_mul(0xd1b5_4a32_d192_ed03));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const fn sku(drawn: u64) -> &'static str {
    match drawn % 4 {
        0 => "kettle",
        1 => "lamp",
        2 => "desk",
        _ => "chair",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_orders_and_another_gives_others() {
        let (one, two) = (Plan::new(7), Plan::new(8));
        assert_eq!(one.order(41), one.order(41));
        assert_ne!(one.order(41), two.order(41));
        let parsed: serde_json::Value = serde_json::from_str(&one.order(3).value).unwrap();
        assert_eq!(parsed["order_id"], one.order(3).id);
    }

    #[test]
    fn some_orders_fail_some_go_twice_and_all_ticks_have_some() {
        let plan = Plan::new(1);
        let orders: Vec<_> = (0..2_000).map(|n| plan.order(n)).collect();
        let twice = orders.iter().filter(|order| order.twice).count();
        let faults = orders
            .iter()
            .filter(|order| plan.fault(order.id.as_bytes()).is_some())
            .count();
        assert!((15..80).contains(&twice), "{twice}");
        assert!((25..120).contains(&faults), "{faults}");
        assert!((0..100).all(|tick| (2..=4).contains(&plan.orders_in_tick(tick))));
    }

    #[test]
    fn fulfilment_dawdles_once_a_cycle_and_never_while_draining() {
        let plan = Plan::new(1);
        let at = |s| plan.fulfilment_work(Duration::from_secs(s), false);
        assert!(at(0) < SLOW && at(9) < SLOW && at(18) < SLOW);
        assert_eq!((at(3), at(8), at(21)), (SLOW, SLOW, SLOW));
        assert!(plan.fulfilment_work(Duration::from_secs(4), true) < SLOW);
    }
}
