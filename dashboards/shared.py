"""What the four dashboards share: variables, links between them, words and colours, and the arithmetic of objectives."""

from grafana import (
    BLUE, GREEN, ORANGE, RED, YELLOW, board, by, coloured, datasource, link, quantile, rate, sli, steps, to_board, values, variable,
)

EXECUTIVE, ON_CALL, DEBUG, SIDECAR = (f"throughline-{name}" for name in ("executive", "on-call", "debug", "sidecar"))
SLI = "cluster, sli, topic, group"
CTG = "cluster, topic, group"

TEAMS = 'label_values(cluster_topic:throughline_topic_owner:info{cluster=~"$cluster"}, team)'
READ = "throughline_delivered_records_total|throughline_group_lag_seconds"
KNOWN = f"cluster_topic:throughline_topic_owner:info|throughline_produced_records_total|{READ}"
TOPICS = 'label_values({__name__=~"%s",cluster=~"$cluster",team=~"$team"}, topic)' % KNOWN
GROUPS = 'label_values({__name__=~"%s",cluster=~"$cluster",topic=~"$topic"}, group)' % READ


def variables(*more_sources, hidden=False):
    """In the order they narrow each other. Boards that read recorded series, which no single process has, hide job and instance."""
    return [
        datasource("prometheus"), *(datasource(kind) for kind in more_sources),
        variable("cluster", "Kafka cluster: its configured name, else its id", "label_values(throughline_build_info, cluster)", ".*"),
        variable("team", "Owner of topics; unowned where nobody claims one", TEAMS, ".*"),
        variable("topic", "Topics of the chosen teams", TOPICS),
        variable("group", "Consumer groups of the chosen topics", GROUPS),
        variable("job", "Scrape job of sidecars and observers",
                 'label_values(throughline_build_info{cluster=~"$cluster"}, job)', ".+", hidden),
        variable("instance", "One sidecar or observer",
                 'label_values(throughline_build_info{cluster=~"$cluster",job=~"$job"}, instance)', ".+", hidden),
    ]


NARROWED = "?${prometheus_datasource:queryparam}&${cluster:queryparam}&${team:queryparam}&${topic:queryparam}&${group:queryparam}"
PLACES = {
    EXECUTIVE: ("Executive", "Are the objectives met?"),
    ON_CALL: ("On call", "What burns, and where?"),
    DEBUG: ("Debug", "Which record, which partition, which client?"),
    SIDECAR: ("Sidecar", "Are sidecars and observers themselves well?"),
}


def links(own):
    """To the other boards. Job and instance go along only to boards that show them."""
    shown = (DEBUG, SIDECAR)
    others = [(uid, *words) for uid, words in PLACES.items() if uid != own]
    return [to_board(title, text, f"/d/{uid}" + ("" if uid in shown else NARROWED), uid in shown) for uid, title, text in others]


def row_links(uid, title):
    """For a table: the topic leads on with cluster and topic, the group with the group too."""
    of = lambda *names: [(name, f"${{__data.fields.{name}}}") for name in names]
    return {"topic": [link(f"{title}: this topic", board(uid, *of("cluster", "topic")))],
            "group": [link(f"{title}: this topic and group", board(uid, *of("cluster", "topic", "group")))]}


def series_link(uid, title, *names):
    return [link(title, board(uid, *((name, f"${{__field.labels.{name}}}") for name in names)))]


def to_on_call(*names):
    return series_link(ON_CALL, "On call: ${__field.labels.topic}", *names)


def to_debug(*names):
    return series_link(DEBUG, "Debug: ${__field.labels.topic} ${__field.labels.group}", *names)


SHARE = {"unit": "percentunit", "decimals": 3}
BUDGET = coloured(steps(RED, (0, ORANGE), (0.25, YELLOW), (0.5, GREEN)), unit="percentunit", decimals=1)
BURN = coloured(steps(GREEN, (1, YELLOW), (3, ORANGE), (14.4, RED)), unit="none", decimals=1)
URGENCY = coloured(steps(RED, (2, ORANGE), (3, YELLOW)), mappings=values({1: ("page", RED), 2: ("channel", ORANGE), 3: ("ticket", YELLOW)}))
SECONDS = {"unit": "s", "decimals": 1}
COUNT = {"unit": "short", "decimals": 0}
STATES = {
    0: ("ok", GREEN), 1: ("warn", YELLOW), 2: ("rewinding", BLUE), 3: ("stalled", ORANGE), 4: ("stopped", RED), 5: ("abandoned", "purple"),
}
PARTITIONS_OFF = "Not kept: metrics.partitions is off"
NO_SCHEMAS = "No record with a schema was seen"
NO_LETTERS = "No record was given up on"
TOPIC_GROUP = "{{topic}} {{group}} ({{cluster}})"

OBJECTIVE = by("max", SLI, sli("objective:ratio", "TG"))
BUDGET_LEFT = by("max", SLI, sli("budget_left:ratio30d", "TG"))


def success(window, name):
    """Good over all, of the sums; an average of shares would weigh a quiet topic like a busy one."""
    only = (f'sli="{name}"',)
    return f"sum({sli(f'good_events:increase{window}', 'tG', *only)}) / sum({sli(f'events:increase{window}', 'tG', *only)})"


def success_now(scope, *more):
    good, every = (by("sum", "sli", rate(name, scope, *more)) for name in ("sli_good_events_total", "sli_events_total"))
    return f"{good} / {every}"


def strictest(name):
    return "max(%s)" % sli("objective:ratio", "tG", f'sli="{name}"')


def fetched(q, labels=""):
    return quantile(q, "end_to_end_latency_seconds", labels, "tg", 'stage="fetched"')


def burn(window):
    """How many times faster than allowed the budget is spent."""
    return f"{by('max', SLI, sli(f'errors:ratio{window}', 'TG'))} / (1 - {OBJECTIVE})"


def among(expr, ranked):
    """The same rows as another column."""
    return f"({expr}) and on ({SLI}) {ranked}"
