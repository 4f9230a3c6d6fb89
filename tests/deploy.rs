//! What deploy/ ships holds where no container engine and no cluster is at hand: every file is read by the parser, schema or loader
//! of the program it is for, and every port, path and name in it is one that exists.
//!
//! For each of these checkers a broken file is seen refused. Must not start a container; what only a running engine would tell is
//! named in deploy/README.md.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

#[path = "deploy/tools.rs"]
mod tools;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use support::{deadline::poll_until, http, ports, process::Process};
use tools::{path, read, run};

const INSTALL: &str =
    "apt-get install -y --no-install-recommends prometheus prometheus-alertmanager";
/// The first with native sidecars, and the newest that the schemas know.
const KUBERNETES: [&str; 2] = ["1.29", "1.37"];
const PLAIN: [&str; 3] = ["app", "observer", "podmonitor"];
const DASHBOARDS: [&str; 4] = ["executive", "on-call", "debug", "sidecar"];
const LIMIT: Duration = Duration::from_secs(120);

fn kubernetes(name: &str) -> PathBuf {
    path(&format!("deploy/kubernetes/{name}.yaml"))
}

fn compose_file(name: &str) -> PathBuf {
    path("deploy/compose").join(name)
}

/// A file with a text of its own, gone at the end of the test.
#[track_caller]
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new()
        .suffix(".yaml")
        .tempfile()
        .expect("a file");
    fs::write(file.path(), text).expect("it is written");
    file
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().filter_map(Value::as_str).collect()
}

/// The first of the documents of a kind.
#[track_caller]
fn of_kind<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// (instruction, the rest) of each instruction of a Dockerfile, lines that go on joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = joined
        .lines()
        .filter_map(|line| line.trim().split_once(' '));
    lines
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let strict = ["--failure-threshold", "style"];
    let (good, out, err) = run(tools::hadolint()
        .args(strict)
        .arg(path("deploy/Dockerfile")));
    assert!(good, "{out}{err}");
    let broken = read("deploy/Dockerfile").replace("\nENTRYPOINT", "\nENTRYPOYNT");
    let (good, ..) = run(tools::hadolint().args(strict).arg(file(&broken).path()));
    assert!(!good, "a misspelt instruction was accepted");
}

#[test]
fn the_last_stage_of_the_image_has_no_shell_and_is_not_root() {
    let all = instructions(&read("deploy/Dockerfile"));
    let stages: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 == "FROM").collect();
    assert!(stages.len() >= 2, "{all:#?}");
    let last = &all[*stages.last().expect("a stage")..];
    let of = |name: &str| -> Vec<&str> {
        let found = last.iter().filter(|(instruction, _)| instruction == name);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    assert!(of("FROM")[0].starts_with("gcr.io/distroless/"), "{last:#?}");
    assert!(of("RUN").is_empty() && of("SHELL").is_empty(), "{last:#?}");
    let ids: Vec<u32> = of("USER")[0]
        .split(':')
        .map(|id| id.parse().expect("a number"))
        .collect();
    assert!(ids.iter().all(|id| *id > 0), "root: {ids:?}");
    let exposed: BTreeSet<&str> = of("EXPOSE")[0].split(' ').collect();
    let table = read("README.md");
    let (_, table) = table
        .split_once("\n## Ports\n")
        .expect("the table of ports");
    let documented = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(' '));
    // The ports of single brokers begin at 9193 and are as many as there are brokers.
    let documented: BTreeSet<&str> = documented
        .map(|(port, _)| port)
        .take_while(|port| *port != "`sli`")
        .filter(|port| port.parse::<u16>().is_ok_and(|port| port != 9193))
        .collect();
    assert_eq!(exposed, documented);
    for name in ["ENTRYPOINT", "CMD"] {
        let form: Value = serde_json::from_str(of(name)[0]).expect("the exec form");
        assert!(form.is_array(), "{name}: {form}");
    }
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).expect("a channel");
    assert!(
        all[stages[0]].1.starts_with(&format!("rust:{channel}-")),
        "not Rust {channel}: {:?}",
        all[0]
    );
}

#[test]
fn the_context_of_the_image_has_every_file_that_the_build_reads() {
    let allowed: Vec<String> = read(".dockerignore")
        .lines()
        .filter_map(|line| Some(line.strip_prefix('!')?.to_owned()))
        .collect();
    let context = tempfile::tempdir().expect("a directory");
    for entry in &allowed {
        let to = context.path().join(entry);
        fs::create_dir_all(to.parent().expect("a parent")).expect("its directory");
        std::os::unix::fs::symlink(path(entry), to).expect("a link");
    }
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args([
        "metadata",
        "--offline",
        "--locked",
        "--no-deps",
        "--format-version=1",
    ]);
    let (good, _, err) = run(metadata.current_dir(context.path()));
    assert!(good, "Cargo cannot read it: {err}");
    // build.rs lays out release builds by this file.
    assert!(
        context.path().join("scripts/link/startup.ld").exists(),
        "{allowed:?}"
    );
    // Files that are compiled in from elsewhere.
    for (source, text) in sources(&path("src")) {
        for included in text.split("include_str!(\"").skip(1) {
            let included = included.split('"').next().unwrap_or_default();
            let target = source.parent().expect("a directory").join(included);
            let target = target
                .canonicalize()
                .unwrap_or_else(|error| panic!("{}: {error}", target.display()));
            let there = allowed
                .iter()
                .any(|entry| target.starts_with(path(entry).canonicalize().expect("a path")));
            assert!(
                there,
                "{} is compiled into {}",
                target.display(),
                source.display()
            );
        }
    }
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)
        .expect("a directory")
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            let text = fs::read_to_string(&path).expect("a source");
            all.push((path, text));
        }
    }
    all
}

/// What `kubectl kustomize` prints of a directory.
#[track_caller]
fn rendered(directory: &str) -> tempfile::NamedTempFile {
    let mut command = tools::kustomize();
    command.args(["build", "--load-restrictor", "LoadRestrictionsNone"]);
    let (good, out, err) = run(command.arg(path(directory)));
    assert!(good, "{directory}: {err}");
    file(&out)
}

/// Holds manifests against the schemas: whether they hold, and what does not.
#[track_caller]
fn checked(version: &str, files: &[&Path]) -> (bool, String) {
    let mut command = tools::documents();
    command.arg("check").arg(version).arg(tools::definitions());
    let (good, out, err) = run(command.args(files));
    (good, format!("{out}{err}"))
}

#[test]
fn the_manifests_hold_the_schemas_of_the_oldest_and_the_newest_kubernetes() {
    let plain = PLAIN.map(kubernetes);
    let example = rendered("deploy/kubernetes");
    let monitoring = rendered("deploy/kubernetes/monitoring");
    let mut files: Vec<&Path> = plain.iter().map(PathBuf::as_path).collect();
    files.extend([example.path(), monitoring.path()]);
    for version in KUBERNETES {
        let (good, said) = checked(version, &files);
        assert!(good, "Kubernetes {version}: {said}");
    }
}

#[test]
fn a_field_that_kubernetes_or_the_operator_does_not_know_is_refused() {
    let cases = [
        ("app", "failureThreshold: 3\n", "failureThreshhold: 3\n"),
        ("app", "containerPort: 9470", "containerPort: admin"),
        ("app", "replicas: 2\n", "replicas: 2\n  replicas: 3\n"),
        ("podmonitor", "podMetricsEndpoints:", "podMetricEndpoints:"),
        ("podmonitor", "interval: 15s", "interval: soon"),
    ];
    for (name, right, wrong) in cases {
        let text = fs::read_to_string(kubernetes(name)).expect("a manifest");
        assert!(text.contains(right), "{name} has no {right:?}");
        let broken = file(&text.replacen(right, wrong, 1));
        let (good, said) = checked(KUBERNETES[0], &[broken.path()]);
        assert!(!good, "{wrong:?} was accepted: {said}");
    }
}

#[test]
fn the_sidecar_of_the_example_is_a_native_one_that_is_probed_and_confined() {
    let documents = tools::yaml(&kubernetes("app"));
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    let sidecar = &pod["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(
        sidecar["readinessProbe"],
        Value::Null,
        "a broker outage takes the program out of its Service"
    );
    confined(pod, sidecar);
    let program = &pod["containers"][0];
    confined(pod, program);
    assert!(
        texts(&program["args"]).contains(&"localhost:9092"),
        "{program}"
    );
    // What is mounted is there, and the other way round.
    let volumes: BTreeSet<_> = list(&pod["volumes"])
        .iter()
        .map(|volume| volume["name"].to_string())
        .collect();
    let containers = [sidecar, program];
    let mounts = containers
        .iter()
        .flat_map(|container| list(&container["volumeMounts"]));
    assert_eq!(
        mounts
            .map(|mount| mount["name"].to_string())
            .collect::<BTreeSet<_>>(),
        volumes
    );

    let documents = tools::yaml(&kubernetes("observer"));
    let pod = &of_kind(&documents, "Deployment")["spec"]["template"]["spec"];
    confined(pod, &pod["containers"][0]);
}

#[track_caller]
fn confined(pod: &Value, container: &Value) {
    let context = &container["securityContext"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(context["readOnlyRootFilesystem"], true, "{container}");
    assert_eq!(context["allowPrivilegeEscalation"], false, "{container}");
    assert_eq!(
        context["capabilities"],
        json!({"drop": ["ALL"]}),
        "{container}"
    );
    for bound in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
        assert!(
            container["resources"].pointer(bound).is_some(),
            "no {bound}: {container}"
        );
    }
    if container["image"] == "throughline" {
        assert_eq!(
            container["ports"][0],
            json!({"name": "admin", "containerPort": 9470})
        );
        for probe in ["startupProbe", "livenessProbe"] {
            assert_eq!(
                container[probe]["httpGet"],
                json!({"path": "/livez", "port": "admin"}),
                "{probe}"
            );
        }
    }
}

#[test]
fn throughline_accepts_the_configuration_in_each_config_map() {
    for name in ["app", "observer"] {
        let documents = tools::yaml(&kubernetes(name));
        let text = of_kind(&documents, "ConfigMap")["data"]["throughline.yaml"].as_str();
        let text = text.expect("a configuration");
        let token = file("0123456789abcdef0123456789abcdef");
        // The one thing that is only there in the pod.
        let text = text.replace(
            "/etc/throughline-admin/token",
            &token.path().to_string_lossy(),
        );
        let check = |text: &str| {
            let mut command = support::throughline::binary();
            command.args(["check", "--offline", "--config"]);
            run(command.arg(file(text).path()))
        };
        let (good, out, err) = check(&text);
        assert!(good, "{name}: {out}{err}");
        let (good, ..) = check(&text.replace("bootstrap:", "boostrap:"));
        assert!(!good, "a misspelt key was accepted");
        // What the probes and Prometheus ask is served where they ask.
        assert!(text.contains("\n  listen: 0.0.0.0:9470\n"), "{text}");
    }
}

#[test]
fn the_pod_monitors_and_services_select_the_pods_of_the_examples() {
    let monitors = tools::yaml(&kubernetes("podmonitor"));
    for (name, role) in [("app", "sidecar"), ("observer", "observer")] {
        let documents = tools::yaml(&kubernetes(name));
        let labels = &of_kind(&documents, "Deployment")["spec"]["template"]["metadata"]["labels"];
        let matches = |selector: &Value| {
            let selector = selector.as_object().expect("labels");
            selector.iter().all(|(key, value)| &labels[key] == value)
        };
        assert!(
            matches(&of_kind(&documents, "Service")["spec"]["selector"]),
            "{name}"
        );
        let monitors = monitors
            .iter()
            .filter(|monitor| matches(&monitor["spec"]["selector"]["matchLabels"]));
        let names: Vec<_> = monitors
            .map(|monitor| &monitor["metadata"]["name"])
            .collect();
        assert_eq!(names, [&json!(format!("throughline-{role}"))]);
    }
}

#[test]
fn the_monitoring_manifests_are_the_generated_rules_and_the_dashboards_themselves() {
    let documents = tools::yaml(rendered("deploy/kubernetes/monitoring").path());
    let generated = tools::yaml(&path("alerts/crd/prometheusrule.yaml"));
    assert_eq!(
        of_kind(&documents, "PrometheusRule")["spec"],
        generated[0]["spec"]
    );
    for name in DASHBOARDS {
        let map = documents.iter().find(|document| {
            document["metadata"]["name"] == format!("throughline-dashboard-{name}")
        });
        let map = map.unwrap_or_else(|| panic!("no ConfigMap of {name}"));
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        let file = format!("{name}.json");
        assert_eq!(
            map["data"][&file].as_str(),
            Some(read(&format!("dashboards/{file}")).as_str()),
            "{name}"
        );
    }
}

/// The compose file as Compose's own loader understands it.
#[track_caller]
fn project() -> Value {
    let (good, out, err) = run(tools::compose()
        .args(["--format", "json"])
        .arg(compose_file("compose.yaml")));
    assert!(good, "{err}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn compose_loads_the_file_and_everything_it_mounts_is_there() {
    let project = project();
    let services = project["services"].as_object().expect("services");
    for (name, service) in services {
        let image = service["image"].as_str().unwrap_or_default();
        let tag = image.rsplit_once(':').map(|(_, tag)| tag);
        assert!(
            tag.is_some_and(|tag| tag.contains(|c: char| c.is_ascii_digit())),
            "{name}: {image} is not pinned"
        );
        for mount in list(&service["volumes"])
            .iter()
            .filter(|mount| mount["type"] == "bind")
        {
            let source = Path::new(mount["source"].as_str().expect("a source"));
            assert!(source.exists(), "{name} mounts {}", source.display());
            assert_eq!(mount["read_only"], true, "{name}: {mount}");
        }
        for port in list(&service["ports"]) {
            assert_eq!(
                port["host_ip"], "127.0.0.1",
                "{name} is open to everybody: {port}"
            );
        }
    }
    let text = fs::read_to_string(compose_file("compose.yaml")).expect("the file");
    let (right, wrong) = ("read_only: true", "readonly: true");
    assert!(text.contains(right), "no {right}");
    let broken = file(&text.replacen(right, wrong, 1));
    let (good, ..) = run(tools::compose().arg(broken.path()));
    assert!(!good, "{wrong} was accepted");
}

#[test]
fn services_of_the_compose_file_lean_on_services_and_volumes_that_are_there() {
    let project = project();
    let services = project["services"].as_object().expect("services");
    let volumes = project["volumes"].as_object().expect("volumes");
    for (name, service) in services {
        let needed = service["depends_on"].as_object();
        for needed in needed.into_iter().flatten().map(|(needed, _)| needed) {
            assert!(services.contains_key(needed), "{name} needs {needed}");
        }
        let shared = service["network_mode"].as_str();
        if let Some(shared) = shared.and_then(|mode| mode.strip_prefix("service:")) {
            assert!(services.contains_key(shared), "{name} shares {shared}");
        }
        for mount in list(&service["volumes"])
            .iter()
            .filter(|mount| mount["type"] == "volume")
        {
            let source = mount["source"].as_str().unwrap_or_default();
            assert!(volumes.contains_key(source), "{name}: no volume {source}");
        }
        // Who waits for health waits for ever where nothing tells it.
        let healthy = needed.into_iter().flatten();
        for (needed, how) in healthy.filter(|(_, how)| how["condition"] == "service_healthy") {
            assert!(
                services[needed]["healthcheck"].is_object(),
                "{needed}: {how}"
            );
        }
    }
}

#[test]
fn prometheus_keeps_what_the_rules_look_back_on_and_scrapes_what_is_there() {
    let flags = project();
    let flags = texts(&flags["services"]["prometheus"]["command"]).join(" ");
    assert!(
        flags.contains("retention.time=35d") && flags.contains("exemplar-storage"),
        "{flags}"
    );
    let inside = "/etc/prometheus/alerts/";
    let text = read("deploy/compose/prometheus.yaml");
    assert!(text.contains(inside), "no rules");
    let text = text.replace(inside, &format!("{}/", path("alerts").display()));
    let promtool = |text: &str| {
        let config = file(text);
        let mut command = Command::new("promtool");
        command.args(["check", "config"]).arg(config.path());
        assert!(command.output().is_ok(), "no promtool here: {INSTALL}");
        run(&mut command)
    };
    let (good, out, err) = promtool(&text);
    assert!(good, "{out}{err}");
    assert!(out.contains("2 rule files found"), "{out}{err}");
    let (good, ..) = promtool(&text.replace("static_configs", "static_config"));
    assert!(!good, "a misspelt key was accepted");

    let project = project();
    let config = &tools::yaml(&compose_file("prometheus.yaml"))[0];
    let targets: Vec<&str> = list(&config["scrape_configs"])
        .iter()
        .flat_map(|job| texts(&job["static_configs"][0]["targets"]))
        .collect();
    let alertmanagers =
        texts(&config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]);
    for target in targets
        .iter()
        .chain(&alertmanagers)
        .filter(|target| !target.starts_with("localhost:"))
    {
        let (host, _) = target.split_once(':').expect("host:port");
        assert!(project["services"].get(host).is_some(), "no service {host}");
    }
}

#[test]
fn the_demo_serves_metrics_on_every_port_that_prometheus_scrapes() {
    let project = project();
    let command = texts(&project["services"]["demo"]["command"]).join(" ");
    assert!(command.contains("--admin 0.0.0.0:9470"), "{command}");
    let text = read("deploy/compose/prometheus.yaml");
    let scraped = (9470..9480)
        .filter(|port| text.contains(&format!("demo:{port}")))
        .count();
    // As many in a row as the demo is to have.
    let first = ports::in_a_row(scraped);
    let mut command = support::throughline::binary();
    command.args([
        "demo",
        "--no-color",
        "--admin",
        &format!("127.0.0.1:{first}"),
    ]);
    let demo = Process::spawn("demo", &mut command);
    for n in 0..scraped {
        let port = first + u16::try_from(n).expect("few");
        poll_until(
            &format!("sidecar {n} answers: {}", demo.tail()),
            LIMIT,
            || {
                let (_, page) = http::call(http::local(port), "GET", "/metrics", None).ok()?;
                page.contains("throughline_build_info").then_some(())
            },
        );
    }
}

#[test]
fn alertmanager_runs_with_the_routing_that_is_shipped_and_a_receiver_where_it_sends() {
    let project = project();
    let services = &project["services"];
    let flags = texts(&services["alertmanager"]["command"]).join(" ");
    assert!(
        flags.contains("--config.file=/etc/alertmanager/alertmanager.yaml"),
        "{flags}"
    );
    let mounted = list(&services["alertmanager"]["volumes"])
        .iter()
        .any(|mount| {
            let source = mount["source"].as_str().unwrap_or_default();
            source.ends_with("alerts/alertmanager") && mount["target"] == "/etc/alertmanager"
        });
    assert!(mounted, "{}", services["alertmanager"]);
    assert_eq!(services["receiver"]["network_mode"], "service:alertmanager");
    let port = services["receiver"]["environment"]["HTTP_PORT"]
        .as_str()
        .expect("a port");
    let routing = read("alerts/alertmanager/alertmanager.yaml");
    let elsewhere = routing
        .lines()
        .filter(|line| line.contains("url: http") && !line.contains(&format!("127.0.0.1:{port}/")));
    assert_eq!(elsewhere.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_collector_accepts_its_configuration_and_sends_to_services_that_are_there() {
    let config = compose_file("collector.yaml");
    let validate = |config: &Path| {
        run(tools::collector()
            .arg("validate")
            .arg(format!("--config={}", config.display())))
    };
    let (good, out, err) = validate(&config);
    assert!(good, "{out}{err}");
    let text = read("deploy/compose/collector.yaml");
    let broken = file(&text.replace("insecure: true", "insecur: true"));
    assert!(!validate(broken.path()).0, "a misspelt key was accepted");
    let project = project();
    let image = project["services"]["collector"]["image"]
        .as_str()
        .unwrap_or_default();
    let module = read("tests/deploy/collector/go.mod");
    let version = image.rsplit(':').next().unwrap_or_default();
    assert!(
        module.contains(&format!("otelcol v{version}\n")),
        "validated with another version than {image}"
    );
    let config = &tools::yaml(&config)[0];
    for exporter in config["exporters"].as_object().expect("exporters").values() {
        let endpoint = exporter["endpoint"]
            .as_str()
            .expect("an endpoint")
            .trim_start_matches("http://");
        let host = endpoint.split(':').next().unwrap_or_default();
        assert!(project["services"].get(host).is_some(), "no service {host}");
    }
}

#[test]
fn grafana_is_given_linked_data_sources_and_the_dashboards() {
    let project = project();
    let sources = tools::yaml(&compose_file(
        "grafana/provisioning/datasources/throughline.yaml",
    ));
    let sources = list(&sources[0]["datasources"]);
    let of = |uid: &str| {
        sources
            .iter()
            .find(|source| source["uid"] == uid)
            .unwrap_or_else(|| panic!("no {uid}"))
    };
    for source in sources {
        let url = source["url"]
            .as_str()
            .and_then(|url| url.strip_prefix("http://"))
            .expect("a URL");
        let host = url.split(':').next().unwrap_or_default();
        assert!(project["services"].get(host).is_some(), "no service {host}");
        // A data source without `type` or `access` is refused; an unknown `type` is shown as missing.
        assert_eq!(source["access"], "proxy", "{source}");
        let types = ["prometheus", "tempo", "loki", "alertmanager"];
        assert!(
            types.contains(&source["type"].as_str().unwrap_or_default()),
            "{source}"
        );
    }
    let exemplar = &of("prometheus")["jsonData"]["exemplarTraceIdDestinations"][0];
    assert_eq!(
        exemplar,
        &json!({"name": "trace_id", "datasourceUid": "tempo"})
    );
    assert_eq!(
        of("loki")["jsonData"]["derivedFields"][0]["datasourceUid"],
        "tempo"
    );
    assert_eq!(
        of("tempo")["jsonData"]["tracesToLogsV2"]["datasourceUid"],
        "loki"
    );

    let providers = tools::yaml(&compose_file(
        "grafana/provisioning/dashboards/throughline.yaml",
    ));
    let folder = &providers[0]["providers"][0]["options"]["path"];
    let mounts = &project["services"]["grafana"]["volumes"];
    let mounted = list(mounts).iter().find(|mount| &mount["target"] == folder);
    let source = mounted
        .and_then(|mount| mount["source"].as_str())
        .expect("the dashboards are mounted");
    for name in DASHBOARDS {
        assert!(
            Path::new(source).join(format!("{name}.json")).exists(),
            "{source} has no {name}"
        );
    }
}

#[test]
fn tempo_takes_what_the_collector_sends() {
    let tempo = &tools::yaml(&compose_file("tempo.yaml"))[0];
    let collector = &tools::yaml(&compose_file("collector.yaml"))[0];
    let endpoint = collector["exporters"]["otlp_grpc/tempo"]["endpoint"]
        .as_str()
        .expect("an endpoint");
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    let listens = &tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"];
    assert_eq!(listens, &json!(format!("0.0.0.0:{port}")));
    let sources = read("deploy/compose/grafana/provisioning/datasources/throughline.yaml");
    let queried = format!("http://tempo:{}\n", tempo["server"]["http_listen_port"]);
    assert!(sources.contains(&queried), "Grafana does not ask {queried}");
}
