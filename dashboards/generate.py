#!/usr/bin/env python3
"""Writes the four dashboards beside this file; `--check` only says whether they are what this would write.

Executive -> on call -> debug -> trace: what is shown is here, how Grafana stores it in grafana.py, what boards share in
shared.py. Ids of panels are part of links people keep: give a new panel a new one, never a used one. Only the standard
library is needed.
"""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # before the neighbours are loaded: nothing is left beside the dashboards

from grafana import (
    GREEN, ORANGE, RED, YELLOW, board, by, coloured, dashboard, dashed, explore, heatmap, lines, link, logs, on_the_right, over_range,
    override, quantile, rate, sel, sli, stat, steps, table, timeline, tl, to_board, top, union,
)
from shared import (
    BUDGET, BUDGET_LEFT, BURN, COUNT, CTG, DEBUG, EXECUTIVE, NO_LETTERS, NO_SCHEMAS, OBJECTIVE, ON_CALL, PARTITIONS_OFF, SECONDS, SHARE, SIDECAR,
    SLI, STATES, TOPIC_GROUP, URGENCY, among, burn, fetched, links, row_links, strictest, success, success_now, to_debug, to_on_call,
    variables,
)


# ---- executive ----------------------------------------------------------------------------------


def executive():
    per_team = "cluster_sli_team_tenant:throughline_sli_"
    of_team = lambda name: by("sum", "cluster, team, sli", sel(f"{per_team}{name}:increase1d", "", 'team=~"$team"'))
    owner = by("max", "cluster, topic, team", sel("cluster_topic:throughline_topic_owner:info", "t", 'team=~"$team"'))
    team_on_call = board(ON_CALL, ("cluster", "${__data.fields.cluster}"), ("team", "${__data.fields.team}"))
    least = f"bottomk(20, {BUDGET_LEFT})"
    dead = by("sum", CTG, over_range("dead_letter_records_total", "tg")) + " > 0"
    headline = [
        stat(1, "Publish success, 24 h",
            "Share of records that programs tried to produce and brokers acknowledged; green means that the strictest objective of the "
            "chosen topics is met.",
            "percentunit", (success("1d", "publish"), "publish"), objective=strictest("publish")),
        stat(2, "Delivery success, 24 h",
            "Share of records that every live group had read by the deadline (5 minutes unless set otherwise); green means that the "
            "strictest objective is met.",
            "percentunit", (success("1d", "delivery"), "delivery"), objective=strictest("delivery")),
        stat(3, "End to end, P95 and P99",
            "Publish to fetch, over all chosen topics in the last minutes; the next row tells which topic is slow.",
            "s", (fetched(0.95), "P95"), (fetched(0.99), "P99")),
        stat(4, "Dead letters",
            "Records that programs gave up on in the time range shown above; each is work left undone, so any growth wants an owner.",
            "short", (f"sum({over_range('dead_letter_records_total', 'tg')})", "dead letters"), thresholds=steps(GREEN, (1, ORANGE)),
            decimals=0),
        stat(5, "Budgets overspent",
            "Objectives whose error budget of 30 days is used up: hold risky changes to these topics until the number is 0 again.",
            "short", (f"sum({BUDGET_LEFT} < bool 0)", "overspent"), thresholds=steps(GREEN, (1, RED)), decimals=0),
        stat(6, "Volume",
            "Records produced a second over all chosen topics, counted when brokers acknowledge them.",
            "cps", (f"sum({rate('produced_records_total', 't')})", "produced")),
    ]
    objectives = [
        table(7, "Objectives by team",
            "One row for each team and indicator, the least budget first; the budget is that of the team's worst topic. A click on the "
            "team opens its topics on call.",
            "percentunit",
            {"success 24 h": (f"{of_team('good_events')} / {of_team('events')}", SHARE),
                "budget left": (f"min by (cluster, team, sli) ({BUDGET_LEFT} * on (cluster, topic) group_left (team) {owner})", BUDGET)},
            "budget left",
            {"team": [link("On call: topics of this team", team_on_call)]}, desc=False),
        table(8, "Topics nearest to their limits",
            "The twenty objectives with the least error budget left; below 0 % the objective of the last 30 days is missed. A click on "
            "topic or group goes on call.",
            "percentunit",
            {"success 24 h": (among(f"1 - {by('max', SLI, sli('errors:ratio1d', 'TG'))}", least), SHARE),
                "objective": (among(OBJECTIVE, least), SHARE), "budget left": (least, BUDGET)}, "budget left",
            row_links(ON_CALL, "On call"), desc=False),
        lines(9, "Error budget left by indicator",
            "The worst topic's budget of the last 30 days for each indicator; a line that falls steeply is being spent now, under the red "
            "line it is gone.",
            "percentunit", (f"min by (cluster, sli) ({BUDGET_LEFT})", "{{sli}} ({{cluster}})"), limits=steps(RED, (0, "transparent")),
            calcs=("lastNotNull", "min"), max=1, min=None),
        lines(10, "Success by indicator",
            "Good events over all events; each dashed line is the objective that the line of its name must stay above.",
            "percentunit", (success_now("TG"), "{{sli}}"), (f"max by (sli) ({OBJECTIVE})", "{{sli}} objective"),
            overrides=[dashed("/ objective$/")], calcs=("lastNotNull", "min"), max=1, min=None, decimals=3),
    ]
    traffic = [
        lines(11, "Volume by topic",
            "Records a second of the ten busiest topics; a topic that steps down or stops has lost its producers or its callers. A click "
            "leads on call.",
            "cps", (top(10, by('sum', 'cluster, topic', rate('produced_records_total', 't'))), "{{topic}} ({{cluster}})"), stack=True,
            links=to_on_call("cluster", "topic")),
        lines(12, "End to end latency",
            "Publish to fetch over all chosen topics, exact to a bucket; dots are single records, and a dot's trace is one click away.",
            "s", *((fetched(q), f"P{round(q * 100)}") for q in (0.5, 0.95, 0.99)), exemplars=True),
        lines(13, "P95 by topic and group",
            "The ten slowest pairs of topic and group; one line far above the others is that group's problem, all of them rising together "
            "is the cluster's.",
            "s", (top(10, fetched(0.95, CTG)), TOPIC_GROUP),
            links=to_on_call("cluster", "topic", "group")),
        lines(14, "P99 by topic and group",
            "As beside, for the slowest record of a hundred: a P99 far over its P95 means a few partitions or keys are slow, not all.",
            "s", (top(10, fetched(0.99, CTG)), TOPIC_GROUP),
            links=to_on_call("cluster", "topic", "group")),
    ]
    failures = [
        lines(15, "Dead letters by topic",
            "Records a second that went to a dead-letter topic, by the topic they were read from; a plateau is a broken program, a spike "
            "a bad batch.",
            "cps", (top(10, by('sum', 'cluster, topic', rate('dead_letter_records_total', 'tg'))), "{{topic}} ({{cluster}})"),
            links=to_on_call("cluster", "topic")),
        table(16, "Top topics by dead letters",
            "Where records were given up on in the time range, most first; transient causes can be given back, persistent ones need a "
            "fix. A click goes on call.",
            "short", {"dead letters": (top(10, dead), COUNT)}, "dead letters", row_links(ON_CALL, "On call"),
            noValue=NO_LETTERS),
    ]
    rows = [
        ("Now", 101, headline),
        ("Objectives", 102, objectives),
        ("Traffic and latency", 103, traffic),
        ("Dead letters", 104, failures),
    ]
    return dashboard(EXECUTIVE, "Throughline / Executive", "Are the objectives of our Kafka topics met, and which budget is at risk?",
                     "24h", "5m", variables(hidden=True), links(EXECUTIVE), rows)


# ---- on call ------------------------------------------------------------------------------------


def on_call():
    ranked = f"topk(20, {burn('1h')})"
    alerts = lambda severity: by("max", "alertname, team, cluster, sli, topic, group, broker", sel(
        "cluster_alertname:throughline_alerts:firing", "TG", f'severity="{severity}"', 'team=~"$team"'))
    urgency = " or ".join(f"{alerts(name)} * {n}" for n, name in enumerate(("page", "channel", "ticket"), 1))
    state = " or ".join("(%s == 1) * %d" % (tl("group_state", "g", f'state="{name}"'), number) for number, (name, _) in STATES.items())
    rows_to_debug = row_links(DEBUG, "Debug")
    last_seen = sel("cluster_topic:throughline_traffic_last_seen:timestamp_seconds", "t")
    lag = by("max", CTG, tl("group_lag_seconds", "tg"))
    broker = lambda name: by("max", "cluster, broker", tl(name))
    answered = 'sli=~"availability|broker"'
    burning = [
        table(1, "What burns",
            "How many times faster than allowed each error budget is spent; 1 lasts exactly 30 days, 14.4 empties it in two. A row red in "
            "5 m and 1 h burns now. A click leads to debug.",
            "none",
            {"5 m": (among(burn("5m"), ranked), BURN), "1 h": (ranked, BURN), "6 h": (among(burn("6h"), ranked), BURN),
                "3 d": (among(burn("3d"), ranked), BURN), "budget left": (among(BUDGET_LEFT, ranked), BUDGET)},
            "1 h", rows_to_debug, w=14, h=9),
        table(2, "Firing alerts",
            "What Prometheus would notify of now, pages first: they need hands at once, the others a day. Each notification links to its "
            "runbook; topic and group lead to debug.",
            "short", {"urgency": (urgency, URGENCY)}, "urgency", rows_to_debug, w=10, h=9, desc=False),
        lines(3, "Burn rate of the last hour",
            "The ten budgets that burn fastest; yellow: 1, the budget just lasts; orange: 3, ticket; red: 14.4, page if the last five "
            "minutes agree.",
            "none", (top(10, burn('1h')), "{{sli}} {{topic}} {{group}} ({{cluster}})"),
            limits=steps("transparent", (1, YELLOW), (3, ORANGE), (14.4, RED)), links=to_debug("cluster", "topic", "group"), w=24),
    ]
    groups = [
        lines(4, "Lag by group and topic",
            "Age of the oldest record a group has not committed, whole cluster; a straight climb of one second a second means nothing is "
            "committed. Dashed: the default limit.",
            "s", (top(15, lag), TOPIC_GROUP),
            (f"clamp_min(3 * {by('max', 'cluster, group', tl('group_commit_interval_seconds', 'g'))}, 30)",
                "limit {{group}} ({{cluster}})"), overrides=[dashed("/^limit /")], links=to_debug("cluster", "topic", "group"), h=9),
        table(5, "Groups",
            "Worst lag first: records waiting, seconds until they are worked off at the last minute's rate (infinite: never), seconds "
            "until retention removes unread ones.",
            "s",
            {"lag": (lag, coloured(steps(GREEN, (30, YELLOW), (300, RED)), **SECONDS)),
                "records": (by("max", CTG, tl("group_lag_records", "tg")), COUNT),
                "drained in": (by("max", CTG, tl("group_lag_drain_seconds", "tg")), SECONDS),
                "loss in": (by("min", CTG, f"{tl('group_time_to_loss_seconds', 'tg')} or {tl('time_to_loss_seconds', 'tg')}"),
                    coloured(steps(RED, (3600, ORANGE), (86400, GREEN)), **SECONDS))}, "lag", rows_to_debug, h=9),
        timeline(6, "State of groups",
            "Stalled: members, lag over its limit and no progress. Stopped: lag and no members. Either with lag is somebody's outage.",
            STATES, (by("max", "cluster, group", state), "{{group}} ({{cluster}})")),
        lines(7, "Rebalances",
            "Rounds of rebalancing by their cause; a few at a deploy are normal, a steady band means members come and go and nobody works.",
            "short",
            (by("sum", "cluster, group, reason", f"increase({tl('rebalances_total', 'g')}[$__rate_interval])"),
                "{{group}} {{reason}} ({{cluster}})"), bars=True, stack=True),
    ]
    loss = [
        lines(8, "Records lost",
            "Records that a group will never be given, by how they went, and holes in producers' sequences; anything over 0 is data gone: "
            "page the owner.",
            "short", (by("max", CTG, f"increase({tl('group_lost_records_total', 'tg')}[$__rate_interval])"), "before read " + TOPIC_GROUP),
            (by("sum", CTG + ", reason", f"increase({tl('lost_records_total', 'tg')}[$__rate_interval])"), "{{reason}} " + TOPIC_GROUP),
            (by("sum", "cluster, topic", f"increase({tl('sequence_gaps_total', 't')}[$__rate_interval])"),
                "sequence gap {{topic}} ({{cluster}})"), bars=True, w=10),
        lines(9, "Retained and not yet read",
            "Share of what a topic retains that its slowest live group has still to read; at 80 % the objective is missed, at 100 % "
            "records are lost.",
            "percentunit", (by("max", "cluster, topic", tl("retention_used_ratio", "t")), "{{topic}} ({{cluster}})"),
            limits=steps("transparent", (0.8, RED)), max=1, w=7),
        table(26, "Silent topics",
            "Time since a record was last produced, longest first; a topic that should flow and does not has lost what comes before it.",
            "s", {"silent for": (top(20, f"time() - {by('max', 'cluster, topic', last_seen)}"), SECONDS)},
            "silent for", {"topic": rows_to_debug["topic"]}, w=7),
    ]
    brokers = [
        stat(10, "Brokers down",
            "Brokers that did not answer the last probe of an observer.",
            "short", (f"sum(1 - {broker('broker_up')})", "down"), thresholds=steps(GREEN, (1, RED)), w=4),
        stat(11, "Partitions",
            "Under-replicated: one more failure may lose writes. Offline: nobody can read or write them now.",
            "short", (f"sum({by('max', 'cluster', tl('under_replicated_partitions'))})", "under-replicated"),
            (f"sum({by('max', 'cluster', tl('offline_partitions'))})", "offline"), thresholds=steps(GREEN, (1, RED)), w=8),
        timeline(12, "Brokers",
            "Green while a broker answers probes; gaps are times without an observer.",
            {0: ("down", RED), 1: ("up", GREEN)}, (broker("broker_up"), "broker {{broker}} ({{cluster}})"), h=4),
        lines(13, "Availability",
            "Share of requests answered in time and without the broker's fault, as clients saw it, and of probes answered; dashed: the "
            "objectives.",
            "percentunit", (success_now("", answered), "{{sli}}"),
            (by("max", "sli", sli("objective:ratio", "", answered)), "{{sli}} objective"), overrides=[dashed("/ objective$/")],
            calcs=("lastNotNull", "min"), max=1, min=None, decimals=3),
        lines(14, "Request time by broker, P99",
            "Request to answer of requests that do not wait by design; one broker above the others is that broker, all of them is the "
            "network or the disks.",
            "s",
            (
                quantile(0.99, "broker_request_duration_seconds", "cluster, broker", "",
                    'api=~"Produce|Metadata|OffsetCommit|FindCoordinator"'), "broker {{broker}} ({{cluster}})")),
        lines(15, "Disk used by broker",
            "Used share of each broker's fullest log directory; at 80 % the retention objective is missed.",
            "percentunit", (broker("log_dir_used_ratio"), "broker {{broker}} ({{cluster}})"), limits=steps("transparent", (0.8, RED)),
            max=1),
        lines(16, "Errors in answers",
            "Errors a second that brokers gave or that kept clients from brokers, the twenty commonest; some are ordinary at a start, "
            "none should stay.",
            "cps",
            (
                top(20, union("seen",
                    request=by("sum", "cluster, api, error", rate("request_failures_total")),
                    publish=by("sum", "cluster, topic, error", rate("produce_failures_total", "t")),
                    fetch=by("sum", "cluster, topic, error", rate("fetch_failures_total", "t")),
                    commit=by("sum", "cluster, group, error", rate("commit_failures_total", "g")),
                    connect=by("sum", "cluster, broker, kind", rate("connect_failures_total")))),
                "{{seen}} {{api}}{{topic}}{{group}}{{broker}} {{error}}{{kind}} ({{cluster}})")),
        lines(17, "Access refused",
            "Refusals a second for want of rights, and failed logins; a burst that no deploy explains is an intruder or a lost secret: "
            "page security.",
            "cps",
            (
                top(10, union("seen",
                    not_allowed=by("sum", "cluster, api, resource", rate("authorization_failures_total")),
                    not_known=by("sum", "cluster, mechanism", rate("authentication_failures_total")))),
                "{{seen}} {{api}} {{resource}}{{mechanism}} ({{cluster}})")),
    ]
    canary_of = lambda name: by("sum", "cluster, broker", f"increase({tl(f'canary_{name}_total')}[$__rate_interval])")
    canary = [
        lines(18, "Canary records that went wrong",
            "Our own test records by broker: late is slow, failed is refused, lost was acknowledged and is gone, which is data loss "
            "whoever else noticed; unknown is our own trouble.",
            "short", *((canary_of(name), name + " broker {{broker}} ({{cluster}})") for name in ("late", "failed", "lost", "recovered")),
            (by("sum", "cluster, reason", f"increase({tl('canary_unknown_total')}[$__rate_interval])"), "unknown {{reason}} ({{cluster}})"),
            (by("sum", "cluster, reason", f"increase({tl('canary_commit_failures_total')}[$__rate_interval])"),
                "commit {{reason}} ({{cluster}})"), (broker("canary_overdue_records"), "overdue broker {{broker}} ({{cluster}})"), w=10),
        lines(19, "Canary times, P99",
            "Due to acknowledged, to read back, and commit to answer; this is what a client with nothing else to do would see of the "
            "cluster.",
            "s", (quantile(0.99, "canary_duration_seconds", "cluster, stage"), "{{stage}} ({{cluster}})"), w=8),
        stat(20, "Brokers without a canary",
            "Brokers that lead no partition of the canary topic: of these the canary says nothing.",
            "short", (f"sum(1 - {broker('canary_broker_covered')})", "not covered"), thresholds=steps(GREEN, (1, ORANGE)), w=3, h=8),
        stat(21, "Canary records sent",
            "Records a second that became due; it stands still when no observer runs.",
            "cps", (f"sum({rate('canary_sent_total')})", "sent"), w=3, h=8),
    ]
    dead = by("sum", f"{CTG}, dlq_topic, category", over_range("dead_letter_records_total", "tg")) + " > 0"
    bad = [
        lines(22, "Schema failures",
            "Records a second whose schema is unknown or another topic's, or that do not decode; each will fail in every reader: stop the "
            "producer.",
            "cps", (by("sum", "cluster, topic, reason", rate("schema_failures_total", "t")), "{{topic}} {{reason}} ({{cluster}})"),
            links=to_debug("cluster", "topic"), noValue=NO_SCHEMAS),
        lines(23, "Given up on and set aside",
            "Records a second that went to a dead-letter topic, to a retry topic, or that members of a share group did not accept; a "
            "click leads to debug.",
            "cps",
            (
                union("seen", dead_letter=by("sum", CTG, rate("dead_letter_records_total", "tg")),
                    retry=by("sum", CTG, rate("retried_records_total", "tg")),
                    share_group=by("sum", f"{CTG}, acknowledgement",
                        rate("share_acknowledged_records_total", "tg", 'acknowledgement!="accept"'))),
                "{{seen}} {{acknowledgement}} " + TOPIC_GROUP), links=to_debug("cluster", "topic", "group")),
        table(24, "Poison records",
            "Records a group does not get past; each holds up its partition until it is skipped or fixed. A click on the group leads to "
            "the record on debug.",
            "short", {"poison": (top(20, by('sum', CTG, tl('poison_records', 'tg'))), coloured(steps(GREEN, (1, RED)), **COUNT))},
            "poison", rows_to_debug, w=9),
        table(25, "Dead letters, latest",
            "What went to dead-letter topics in the time range: transient records can be given back, persistent ones need a fix first. A "
            "click on the group leads to them on debug.",
            "short", {"dead letters": (top(20, dead), COUNT)}, "dead letters", rows_to_debug, w=15,
            noValue=NO_LETTERS),
    ]
    rows = [
        ("What burns", 101, burning),
        ("Groups", 102, groups),
        ("Loss and silence", 103, loss),
        ("Brokers", 104, brokers),
        ("Canary", 105, canary),
        ("Bad records", 106, bad),
    ]
    return dashboard(ON_CALL, "Throughline / On call",
                     "What burns, in which topic and group, and is it the brokers, the programs or the data?",
                     "3h", "30s", variables(hidden=True), links(ON_CALL), rows)


# ---- debug --------------------------------------------------------------------------------------


def debug():
    spans = lambda topic: {"queryType": "traceql", "query": f'{{ span.messaging.destination.name =~ "{topic}" }}', "limit": 20}
    traces, one_topic = (explore("${tempo_datasource}", "tempo", spans(topic)) for topic in ("${topic:pipe}", "${__field.labels.topic}"))
    about = lambda topic: (
        '{service_name=~".+"} | json | drop __error__, __error_details__ | messaging_system="kafka"'
        f' | messaging_destination_name=~"{topic}" or throughline_dead_letter_origin=~"({topic}):.+"')
    topic_log = explore("${loki_datasource}", "loki", {"queryType": "range", "expr": about("${__field.labels.topic}")})
    lead = [link("Traces of this topic", one_topic, True), link("Event log of this topic", topic_log, True)]
    quantiles = lambda name, labels, legend: [(quantile(q, name, labels, "tg"), f"P{round(q * 100)} {legend}") for q in (0.5, 0.95, 0.99)]
    records = [
        lines(1, "End to end latency, with records",
            "Publish to fetched and to committed; each dot is one record: hover it and open its trace. Choose one topic and group above "
            "for a clear view.",
            "s", *quantiles("end_to_end_latency_seconds", "topic, group, stage", "{{stage}} {{topic}} {{group}}"), exemplars=True,
            links=lead, h=10),
        heatmap(2, "End to end latency, all records",
            "How many records took how long until they were fetched: two bands are two kinds of records or partitions, a rising band is a "
            "backlog. Dots open traces.",
            "s", by("sum", "le", rate("end_to_end_latency_seconds_bucket", "tg", 'stage="fetched"')), h=10),
        lines(3, "Processing time, with records",
            "Fetched to committed; the commit interval is a floor of it. Dots are single records with a trace.",
            "s", *quantiles("processing_duration_seconds", "topic, group", "{{topic}} {{group}}"), exemplars=True, links=lead),
        heatmap(4, "Processing time, all records",
            "How many records took how long from fetch to commit: a second band far above the first is what is retried or waits on "
            "something slow.",
            "s", by("sum", "le", rate("processing_duration_seconds_bucket", "tg"))),
        lines(5, "Publish, fetch and commit, P99",
            "Times of the requests themselves: slow publishes are brokers, slow end to end with fast requests is the consumer. Dots on "
            "publish open traces.",
            "s",
            (
                union("request", publish=quantile(0.99, "produce_duration_seconds", "topic", "t"),
                    fetch=quantile(0.99, "fetch_duration_seconds", "topic", "t"),
                    commit=quantile(0.99, "commit_duration_seconds", "group", "g")), "{{request}} {{topic}}{{group}}"), exemplars=True,
            links=lead),
        logs(6, "Event log",
            "One line for each slow, dead-lettered, duplicated, retried or failing record; open a line and click its trace_id for the "
            "trace. Needs event_log.file or otlp.logs, and Loki.",
            about("$topic") + ' | messaging_consumer_group_name=~"$group|"'),
    ]
    partition = lambda operator, labels, family: by(operator, f"cluster, topic, {labels}partition", family)
    partitions = [
        lines(7, "Throughput by partition",
            "Records a second that reach each partition; one far above the rest is a hot key. Needs metrics.compatibility: "
            "[kafka_exporter] on the observer.",
            "cps",
            (top(20, partition('max', '', 'rate(' + sel('kafka_topic_partition_current_offset', 't') + '[$__rate_interval])')),
                "{{topic}}-{{partition}} ({{cluster}})"),
            noValue="Not kept: metrics.compatibility: [kafka_exporter] of the observer is off", w=8),
        lines(8, "Lag by partition, records",
            "Records behind in each partition, whole cluster and as members see it; one that climbs alone is stuck on a record or has a "
            "hot key. Needs metrics.partitions.",
            "short",
            (
                top(20, union("seen",
                    cluster=partition("max", "group, ", tl("group_partition_lag_records", "tg")),
                    members=partition("sum", "group, ", tl("consumer_partition_lag_records", "tg")))),
                "{{topic}}-{{partition}} {{group}} by {{seen}}"), noValue=PARTITIONS_OFF, w=8),
        lines(9, "Lag by partition, seconds",
            "Age of the first uncommitted record of each partition, as its member sees it; the one far above the others holds the record "
            "to look for. Needs metrics.partitions on the sidecar.",
            "s",
            (top(20, partition('max', 'group, ', tl('consumer_partition_lag_seconds', 'tg'))),
                "{{topic}}-{{partition}} {{group}} ({{cluster}})"), noValue=PARTITIONS_OFF, w=8),
        lines(10, "Skew",
            "Busiest partition over the mean: 1 is even, 3 means that one partition has three times its share; by all producers, and by "
            "each pod.",
            "none", (by("max", "cluster, topic", tl("partition_skew_ratio", "t")), "{{topic}} ({{cluster}})"),
            (by("max", "instance, topic", tl("produced_skew_ratio", "t")), "{{topic}} {{instance}}"), w=8),
        lines(11, "Lag, as members see it",
            "Each pod's own view of its partitions: one instance that climbs alone is that pod.",
            "s", (by("max", "instance, topic, group", tl("consumer_lag_seconds", "tg")), "{{topic}} {{group}} {{instance}}"), w=8),
        lines(12, "Lag, bounds",
            "Where the publish time of a record is not known exactly the truth lies between lower and upper; equal lines are exact.",
            "s",
            (by("max", CTG + ", bound", f"{tl('group_lag_seconds_bound', 'tg')} or {tl('consumer_lag_seconds_bound', 'tg')}"),
                "{{bound}} " + TOPIC_GROUP), w=8),
    ]
    members = [
        lines(13, "Records waiting, by pod",
            "Records behind by instance: even bars are too little power, one tall bar is a slow pod or a bad assignment.",
            "short", (by("sum", "instance, topic, group", tl("consumer_lag_records", "tg")), "{{topic}} {{group}} {{instance}}"),
            stack=True, w=8),
        lines(14, "Partitions by state",
            "Partitions of each group by what their consumer does: stalled is fetched and not committed, stopped is not even fetched.",
            "short", (by("sum", "group, state", tl("consumer_state", "g")), "{{group}} {{state}}"), stack=True, w=8),
        lines(15, "Members",
            "Members as pods see them by state, and as the cluster counts them; silent members hold partitions and do nothing.",
            "short", (by("sum", "group, state", tl("consumer_members", "g")), "{{group}} {{state}}"),
            (by("max", "group", tl("group_members", "g")), "{{group}} in the cluster"), w=8),
        lines(16, "Assigned partitions",
            "Partitions by pod; a pod with none is idle, uneven shares make one pod the slow one.",
            "short", (by("sum", "instance, topic, group", tl("consumer_assigned_partitions", "tg")), "{{topic}} {{group}} {{instance}}"),
            w=8),
        lines(17, "Pace of consumers",
            "Time since the last fetch was answered and between commits; a poll gap over max.poll.interval.ms (5 minutes by default) "
            "throws the member out.",
            "s", (by("max", "group", tl("poll_gap_seconds", "g")), "poll gap {{group}}"),
            (by("max", "group", tl("commit_interval_seconds", "g")), "commit interval {{group}}"), w=8),
        lines(18, "Commits",
            "Accepted commits a second, and refused partitions by error: no commits with traffic means that everything would be read "
            "again.",
            "cps",
            (
                union("seen", accepted=by("sum", "group", rate("commits_total", "g")),
                    refused=by("sum", "group, error", rate("commit_failures_total", "g"))), "{{seen}} {{error}} {{group}}"), w=8),
        lines(19, "Time to catch up",
            "Seconds until the backlog is worked off at the last minute's rate, whole group and this pod; nothing is drawn while it does "
            "not shrink.",
            "s",
            (
                union("seen", group=by("max", CTG, tl("group_lag_drain_seconds", "tg")),
                    pods=by("max", CTG, tl("consumer_lag_drain_seconds", "tg"))), "{{seen}} " + TOPIC_GROUP), w=8),
        lines(20, "Time to replay everything",
            "How long the group would need for all that is retained, at its best, usual and worst measured rate: look here before you "
            "reset offsets.",
            "s", (by("max", CTG + ", bound", tl("replay_estimate_seconds", "tg")), "{{bound}} " + TOPIC_GROUP), w=8),
        table(21, "Clients",
            "Client software of the last hour and on how many pods: an old version that is alone with a fault is the first suspect.",
            "short", {"pods": (by("count", "cluster, software, version", tl("client_info")), COUNT)}, "pods", w=8),
    ]
    traffic = [
        lines(22, "Records",
            "Produced and delivered records a second; delivered is once for each group, so one group in step makes two equal lines.",
            "cps", (by("sum", "topic", rate("produced_records_total", "t")), "produced {{topic}}"),
            (by("sum", "topic, group", rate("delivered_records_total", "tg")), "delivered {{topic}} {{group}}"), w=8),
        lines(23, "Bytes",
            "Bytes a second on the wire; more bytes at the same records are larger records or a lost compression.",
            "Bps", (by("sum", "topic", rate("produced_bytes_total", "t")), "produced {{topic}}"),
            (by("sum", "topic, group", rate("delivered_bytes_total", "tg")), "delivered {{topic}} {{group}}"), w=8),
        lines(24, "Batches",
            "Batches a second by codec and records in a batch (right): single records in a batch cost brokers dearly, linger.ms helps.",
            "cps", (by("sum", "topic, codec", rate("produced_batches_total", "t")), "{{topic}} {{codec}}"),
            (quantile(0.5, "batch_records", "topic", "t"), "records, P50 {{topic}}"),
            overrides=[on_the_right("/^records, P50/")], w=8),
        lines(25, "Duplicates by class",
            "Records that were there before: appended twice and redelivered count against the objective, the others are on purpose or the "
            "broker's own.",
            "cps", (by("sum", "topic, group, class", rate("duplicate_records_total", "tg")), "{{class}} {{topic}} {{group}}")),
        lines(26, "Not judged",
            "Events a second that no indicator could judge, by reason: they are neither good nor bad, and many of them mean that the "
            "share above is of few.",
            "cps", (by("sum", "sli, reason", rate("sli_unknown_events_total", "TG")), "{{sli}} {{reason}}")),
    ]
    context = [
        lines(27, "How parents were found",
            "Records that were given context by evidence: root begins a trace, header and key continue one. Many roots in the middle of a "
            "pipeline are broken chains.",
            "cps", (by("sum", "topic, evidence", rate("lineage_records_total", "t")), "{{evidence}} {{topic}}"), stack=True, w=8),
        lines(28, "Headers added or not",
            "Records that were given headers and those that were sent as they came, by reason; refused batches switch injection off for "
            "their topic.",
            "cps",
            (
                union("seen", added=by("sum", "topic", rate("injected_records_total", "t")),
                    skipped=by("sum", "topic, reason", rate("injection_skipped_total", "t")),
                    refused=by("sum", "topic, error", rate("injection_refused_total", "t"))), "{{seen}} {{reason}}{{error}} {{topic}}"),
            w=8),
        lines(29, "How much is looked at",
            "Share of records whose ids and headers were examined, and whose latency is known; what is not looked at is unknown, never "
            "good.",
            "percentunit", (by("min", "topic, direction", tl("examined_ratio", "t")), "examined {{direction}} {{topic}}"),
            (by("min", "topic", tl("coverage_ratio", "t")), "latency {{topic}}"), calcs=("lastNotNull", "min"), max=1, w=8),
        table(30, "Schemas in use",
            "Schema versions that records of the last hour were written with, and on how many pods; two versions of a subject at once are "
            "a roll-out, or one that stopped half-way.",
            "short", {"pods": (by("count", "cluster, topic, subject, version, format", tl("schema_info", "t")), COUNT)}, "topic",
            desc=False, noValue=NO_SCHEMAS),
        lines(31, "Schema framing and drift",
            "Examined records a second by framing, and (right) versions in use besides one of each subject: over 0 producers disagree.",
            "cps", (by("sum", "topic, framing", rate("schema_records_total", "t")), "{{framing}} {{topic}}"),
            (by("max", "topic", tl("schema_drift", "t")), "drift {{topic}}"),
            overrides=[on_the_right("/^drift/")],
            noValue=NO_SCHEMAS),
    ]
    out = to_board("Traces", "Traces of the chosen topics in Explore", traces, False) | {"icon": "external link", "keepTime": False}
    rows = [
        ("Records", 101, records),
        ("Partitions", 102, partitions),
        ("Members and clients", 103, members),
        ("Traffic and duplicates", 104, traffic),
        ("Context and schemas", 105, context),
    ]
    return dashboard(DEBUG, "Throughline / Debug",
                     "From a figure to the record: exemplars, partitions, members, context and the event log of one topic.",
                     "1h", "30s", variables("tempo", "loki"), [*links(DEBUG), out], rows)


# ---- sidecar ------------------------------------------------------------------------------------


def sidecar():
    ours = "max by (job) (last_over_time(" + tl("build_info") + "[$__range]))"
    process = lambda name: by("max", "instance", sel(f"process_{name}") + f" and on (instance, job) {tl('build_info')}")
    built = f"and on (instance, job) {tl('build_info')}"
    now = [
        stat(1, "Up",
            "Sidecars and observers that answer scrapes, of those known to Prometheus.",
            "short", (f"sum({sel_up()} and on (job) {ours})", "up"), (f"sum(1 - ({sel_up()} and on (job) {ours}))", "down"),
            overrides=[override("down", thresholds=steps(GREEN, (1, RED)))], w=5),
        stat(2, "Client connections",
            "Connections of programs to their sidecars that are open now.",
            "short", (f"sum({tl('proxy_connections')})", "open"), w=4),
        stat(3, "Added latency, P99",
            "Arrival of a chunk to the end of its writing on: what the sidecar itself costs.",
            "s", (quantile(0.99, "proxy_added_latency_seconds", ""), "P99"), thresholds=steps(GREEN, (0.005, YELLOW), (0.05, RED)), w=4),
        stat(4, "Passed unread",
            "Requests and answers in the time range that should have been read and were passed on as they were; figures lack what was in "
            "them.",
            "short", (f"sum({over_range('proxy_bypassed_total')})", "bypassed"), thresholds=steps(GREEN, (1, ORANGE)), decimals=0, w=4),
        stat(5, "Telemetry dropped",
            "Observations dropped in the time range so that traffic need not wait; counts are exact only while this is 0.",
            "short", (f"sum({over_range('telemetry_dropped_total')})", "dropped"), thresholds=steps(GREEN, (1, ORANGE)), decimals=0, w=4),
        stat(6, "Restarts",
            "Processes that began anew in the time range; several of one pod are a crash loop.",
            "short", (f"sum(changes({sel('process_start_time_seconds')}[$__range]) {built})", "restarts"),
            thresholds=steps(GREEN, (1, YELLOW)), decimals=0, w=3),
        table(7, "Processes",
            "One row for each running sidecar or observer: mixed versions are a roll-out under way, or one that stopped half-way.",
            "short",
            {"build": (by("max", "cluster, job, instance, version, commit", tl("build_info")), {"unit": "bool_yes_no"}),
                "since": (f"1000 * {by('max', 'job, instance', sel('process_start_time_seconds') + ' ' + built)}",
                    {"unit": "dateTimeFromNow"}), "series": (by("max", "job, instance", tl("series")), COUNT)}, "instance", hide=("build",),
            desc=False, w=24, h=7),
    ]
    traffic = [
        lines(8, "Connections",
            "Open client connections by instance; a drop to 0 with a running program means that it bypasses its sidecar.",
            "short", (by("sum", "instance", tl("proxy_connections")), "{{instance}}"), w=8),
        lines(9, "Connections made, refused and ended",
            "A second: refused ones hit limits.connections, ended ones are told by the side that ended them.",
            "cps",
            (
                union("seen", accepted=by("sum", "cluster", rate("proxy_connections_accepted_total")),
                    refused=by("sum", "cluster", rate("proxy_connections_refused_total")),
                    ended=by("sum", "cluster, side, kind", rate("connections_closed_total"))), "{{seen}} {{side}} {{kind}} ({{cluster}})"),
            w=8),
        lines(10, "Bytes",
            "Bytes a second passed on by direction, all that went through.",
            "Bps", (by("sum", "instance, direction", rate("proxy_bytes_total")), "{{direction}} {{instance}}"), w=8),
        lines(11, "Frames by mode",
            "Requests and answers a second: edited were given headers, observed were read, opaque only passed.",
            "cps", (by("sum", "mode", rate("proxy_frames_total")), "{{mode}}"), stack=True, w=8),
        lines(12, "Added latency",
            "Arrival of a chunk to the end of its writing on; a P99 that rises with the bytes is a full CPU, without them a slow peer.",
            "s", *((quantile(q, "proxy_added_latency_seconds", "direction"), f"P{round(q * 100)} " + "{{direction}}") for q in (0.5, 0.99)),
            w=8),
        lines(13, "Passed unread",
            "By reason, a second: old or unknown versions need a newer sidecar, tunnel and address are ways around it.",
            "cps", (by("sum", "instance, reason", rate("proxy_bypassed_total")), "{{reason}} {{instance}}"), w=8),
        lines(14, "Throttled",
            "Seconds a second that brokers asked clients to wait, by direction: the quota is too small or the client too greedy, not the "
            "sidecar.",
            "percentunit", (by("sum", "instance, direction", rate("throttled_seconds_total")), "{{direction}} {{instance}}"), w=8),
    ]
    telemetry = [
        lines(15, "Telemetry that did not arrive",
            "Dropped observations by signal and reason, and exports that failed after all retries: look at the collector first, then at "
            "the limits.",
            "cps",
            (
                union("seen", dropped=by("sum", "signal, reason", rate("telemetry_dropped_total")),
                    export_failed=by("sum", "signal", rate("export_failures_total"))), "{{seen}} {{signal}} {{reason}}"), w=8),
        lines(16, "Series against the cap",
            "Series held by each process; at metrics.max_series (20,000 by default, red) further names go to _other.",
            "short", (by("max", "instance", tl("series")), "{{instance}}"), limits=steps("transparent", (16000, YELLOW), (20000, RED)),
            w=8),
        lines(17, "Observations past the cap, and deliveries not indexed",
            "Capped: by family, fold names or raise metrics.max_series. Not indexed: delivered batches whose records begin new traces.",
            "cps",
            (
                union("seen", not_indexed=by("sum", "instance", rate("lineage_unindexed_batches_total")),
                    capped=by("sum", "instance, family", rate("series_capped_total"))), "{{seen}} {{family}} {{instance}}"), w=8),
        lines(18, "Coverage",
            "Share of delivered records whose latency is known, the least of all topics of an instance; the rest is unknown, never good.",
            "percentunit", (by("min", "instance", tl("coverage_ratio", "t")), "latency {{instance}}"),
            (by("min", "instance", tl("examined_ratio", "t")), "examined {{instance}}"), calcs=("lastNotNull", "min"), max=1, w=8),
        lines(19, "How far seconds may be off",
            "Clock skew: publish times that lie in the future, by topic; age: how old the end of a partition is that lag was measured "
            "against. Both should stay near 0.",
            "s",
            (
                union("seen", clock_skew=by("max", "cluster, peer", tl("clock_skew_seconds")),
                    age_of_lag=by("max", CTG, tl("consumer_lag_age_seconds", "tg"))), "{{seen}} {{peer}}{{topic}} {{group}} ({{cluster}})"),
            w=8),
        lines(20, "Memory of duplicates",
            "How far back every examined event is remembered; shorter than configured means that more came than there is memory for.",
            "s", (by("min", "instance", tl("duplicate_window_seconds")), "{{instance}}"), calcs=("lastNotNull", "min"), w=4),
        lines(21, "Taken for duplicates",
            "Share of events that are taken for one that was there and are not; over 0.01 % give duplicates.memory_bytes more.",
            "percentunit", (by("max", "instance", tl("duplicate_false_positive_ratio")), "{{instance}}"),
            limits=steps("transparent", (0.0001, RED)), decimals=4, w=4),
    ]
    resources = [
        lines(22, "Memory",
            "Resident memory of each process; it is bounded by limits.*, so a line that only climbs is a fault: report it.",
            "bytes", (process("resident_memory_bytes"), "{{instance}}"), w=8),
        lines(23, "Processor",
            "Cores used by each process; compare with the bytes before you blame the sidecar.",
            "none", (by("sum", "instance", f"rate({sel('process_cpu_seconds_total')}[$__rate_interval]) {built}"), "{{instance}}"),
            decimals=2, w=8),
        lines(24, "File descriptors",
            "Two for each client connection and a few more; a climb without connections is a leak.",
            "short", (process("open_fds"), "{{instance}}"), w=8),
    ]
    observer = [
        lines(25, "Time of a look at the cluster",
            "Seconds the observer's last look took; over observe.cycle_seconds (10) figures are older than they should be.",
            "s", (by("max", "cluster, instance", tl("observer_cycle_seconds")), "{{instance}} ({{cluster}})"),
            limits=steps("transparent", (10, RED))),
        lines(26, "Refused to the observer",
            "Questions a second that brokers refused for want of rights; what they would have told is missing from the boards: see "
            "README, rights.",
            "cps", (by("max", "cluster, api", rate("observer_refusals_total")), "{{api}} ({{cluster}})")),
    ]
    rows = [
        ("Now", 101, now),
        ("Traffic", 102, traffic),
        ("Telemetry", 103, telemetry),
        ("Resources", 104, resources),
        ("Observer", 105, observer),
    ]
    return dashboard(SIDECAR, "Throughline / Sidecar", "Are sidecars and observers themselves well, and may their figures be believed?",
                     "3h", "30s", variables(), links(SIDECAR), rows)


def sel_up():
    """Prometheus' own series has no cluster."""
    return 'up{job=~"$job",instance=~"$instance"}'


BOARDS = {"executive": executive, "on-call": on_call, "debug": debug, "sidecar": sidecar}


def main(arguments):
    here, stale = Path(__file__).parent, []
    for name, build in BOARDS.items():
        path = here / f"{name}.json"
        text = json.dumps(build(), indent=2, ensure_ascii=False) + "\n"
        if arguments != ["--check"]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"not what generate.py writes: {', '.join(stale)}; run python3 dashboards/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
