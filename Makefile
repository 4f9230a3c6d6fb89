# The one door. `make help` lists what is behind it.
# Everything runs from a fresh clone on Debian or Ubuntu with Rust (rustup reads rust-toolchain.toml).

CARGO ?= cargo
DEMO_ARGS ?=
DEMO_PROFILE ?= quick
FUZZ_CASES ?= 1000000
HEALTHY_SECONDS ?= 1800
ASSETS_SECONDS ?= 900

.PHONY: help demo test check bench rules fuzz acceptance tools

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## demo        build and run the order pipeline on an embedded cluster (DEMO_ARGS="--duration 30s" to stop by itself)
demo:
	@scripts/tools.sh build
	$(CARGO) run --profile $(DEMO_PROFILE) --quiet -- demo $(DEMO_ARGS)

## test        all tests, real Kafka brokers and real clients included; installs what is missing
test:
	@scripts/tools.sh build brokers clients rules
	@scripts/test.sh

## check       formatting, lints, documentation
check:
	@scripts/tools.sh build
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet

## bench       the overhead table of README (direct, null proxy, Throughline) and the codec benches
bench:
	@scripts/tools.sh build brokers clients
	$(CARGO) build --release
	$(CARGO) bench --bench overhead
	$(CARGO) bench --bench exporting
	$(CARGO) bench --bench codec
	$(CARGO) bench --bench scrape

## rules       promtool and amtool over alerts/: syntax, and every alert firing and silent; dashboards as their generator writes them
rules:
	@scripts/tools.sh rules
	promtool check rules alerts/*.rules.yaml alerts/*.alerts.yaml
	promtool test rules alerts/tests/*.test.yaml
	amtool check-config alerts/alertmanager/alertmanager.yaml
	python3 dashboards/generate.py --check

## fuzz        byte mutation of captured traffic in both directions (FUZZ_CASES=1000000)
fuzz:
	@scripts/tools.sh build
	THROUGHLINE_FUZZ_CASES=$(FUZZ_CASES) $(CARGO) test --profile quick --test wire_mutation --test proxy_mutation -- --nocapture

## acceptance  what takes long: fuzz, licences, a minute of demo, every test again on optimized code, traces in a real Jaeger, an observer over 10,000 partitions, half an hour in which nothing may be raised (HEALTHY_SECONDS=1800), rules and routing at their own pace (ASSETS_SECONDS=900); before an issue is resolved
acceptance: fuzz
	@scripts/tools.sh brokers clients rules
	scripts/deny.sh
	$(MAKE) demo DEMO_ARGS="--duration 60s"
	THROUGHLINE_FILTER_IDS=10000000 THROUGHLINE_TREE_EVENTS=1000 scripts/test.sh --profile quick
	$(CARGO) test --profile quick --test real_jaeger -- --ignored
	$(CARGO) test --profile quick --test real_observer -- --ignored --nocapture
	THROUGHLINE_HEALTHY_SECONDS=$(HEALTHY_SECONDS) $(CARGO) test --profile quick --test real_healthy -- --nocapture
	THROUGHLINE_ASSETS_SECONDS=$(ASSETS_SECONDS) $(CARGO) test --profile quick --test real_assets -- --nocapture

## tools       install what the other targets need, without running them
tools:
	@scripts/tools.sh build brokers clients rules
