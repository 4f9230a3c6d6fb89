"""Helpers of generate.py: selectors in PromQL, and panels, variables and links as Grafana stores them.

Nothing here knows what is shown. The rules of Grafana's dashboard linter that can be held by construction are held here:
every selector has job and instance, every rate has $__rate_interval, no data source is named.
"""

import json
import re
from urllib.parse import quote

SCHEMA_VERSION = 42  # the one that @grafana/schema 13.2.3 has; tests/dashboards/typecheck holds us to it
PLUGIN_VERSION = "13.2.2"
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus_datasource}"}
LOKI = {"type": "loki", "uid": "${loki_datasource}"}
TIME = "${__url_time_range}&${prometheus_datasource:queryparam}"
GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"

# ---- PromQL -------------------------------------------------------------------------------------


def sel(family, scope="", *more):
    """A selector of `family`. `scope` names the variables that narrow it: t(opic), g(roup); G = the group or none."""
    matchers = ['job=~"$job"', 'instance=~"$instance"', 'cluster=~"$cluster"']
    matchers += ['topic=~"$topic"'] if "t" in scope else []
    matchers += ['topic=~"$topic|"'] if "T" in scope else []
    matchers += ['group=~"$group"'] if "g" in scope else []
    matchers += ['group=~"$group|"'] if "G" in scope else []
    return f"{family}{{{','.join([*matchers, *more])}}}"


def tl(name, scope="", *more):
    """A selector of one of our own families."""
    return sel(f"throughline_{name}", scope, *more)


def sli(name, scope, *more):
    """A selector of a recorded series per (cluster, sli, topic, group)."""
    return sel(f"cluster_sli_topic_group:throughline_sli_{name}", scope, *more)


def rate(name, scope="", *more):
    return f"rate({tl(name, scope, *more)}[$__rate_interval])"


def over_range(name, scope="", *more):
    """What a counter grew by in the time range of the dashboard."""
    return f"increase({tl(name, scope, *more)}[$__range])"


def by(operator, labels, expr):
    return f"{operator} by ({labels}) ({expr})"


def quantile(q, name, labels, scope="", *more):
    """A quantile of a histogram over all pods."""
    buckets = by("sum", ", ".join(filter(None, [labels, "le"])), rate(f"{name}_bucket", scope, *more))
    return f"histogram_quantile({q}, {buckets})"


def top(count, expr):
    return f"topk({count}, {expr})"


def union(what, **parts):
    """Several families as one set of series, told apart by the label `what`."""
    return " or ".join(f'label_replace({expr}, "{what}", "{name.replace("_", " ")}", "", "")' for name, expr in parts.items())


# ---- queries ------------------------------------------------------------------------------------


def query(expr, legend="__auto", ref="A", **more):
    return {"refId": ref, "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, "editorMode": "code", "range": True,
        "instant": False, **more}


def instant(expr, legend="__auto", ref="A", form="time_series"):
    return query(expr, legend, ref, range=False, instant=True, format=form)


def series(targets, exemplars=False):
    """(expression, legend) pairs as queries over the time range."""
    more = {"exemplar": True} if exemplars else {}
    return [query(expr, legend, chr(65 + n), **more) for n, (expr, legend) in enumerate(targets)]


# ---- field configuration -------------------------------------------------------------------------


def steps(base, *above):
    """Thresholds: the colour below all, then (value, colour) upwards."""
    return {"mode": "absolute", "steps": [{"color": base, "value": None}, *({"color": color, "value": value} for value, color in above)]}


def values(names):
    """A mapping of numbers to words: {number: (word, colour)}."""
    options = {str(number): {"text": text, "color": color, "index": n} for n, (number, (text, color)) in enumerate(names.items())}
    return [{"type": "value", "options": options}]


def override(name, **properties):
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": key.replace("__", "."), "value": value} for key,
        value in properties.items()]}


def dashed(pattern):
    """Series that are no measurement but what one is held against."""
    properties = [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}}, {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.lineWidth", "value": 1}]
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": properties}


def on_the_right(pattern):
    """Series of another kind than the rest, with an axis of their own."""
    properties = [{"id": "unit", "value": "short"}, {"id": "custom.axisPlacement", "value": "right"}]
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": properties}


def link(title, url, new_tab=False):
    return {"title": title, "url": url, "targetBlank": new_tab}


def board(uid, *variables):
    """The address of a dashboard with the time range and (variable, value) pairs carried along."""
    return f"/d/{uid}?{TIME}" + "".join(f"&var-{name}={value}" for name, value in variables)


def explore(datasource, kind, body):
    """The address of Explore with one query; variables stay readable for Grafana."""
    ref = {"type": kind, "uid": datasource}
    pane = {"datasource": datasource, "queries": [{"refId": "A", "datasource": ref, **body}],
        "range": {"from": "${__from}", "to": "${__to}"}}
    text = json.dumps({"throughline": pane}, separators=(",", ":"))
    encoded = "".join(part if part.startswith("${") else quote(part, safe="") for part in re.split(r"(\$\{[^}]+\})", text))
    return f"/explore?schemaVersion=1&panes={encoded}"


# ---- panels -------------------------------------------------------------------------------------


def panel(kind, ident, title, text, targets, unit, options, custom=None, **field):
    """`text` is the sentence that tells how to read it."""
    overrides = field.pop("overrides", [])
    transformations = field.pop("transformations", None)
    width, height = field.pop("w", 12), field.pop("h", 8)
    defaults = {"unit": unit, **{key: value for key, value in field.items() if value is not None}, **({"custom": custom} if custom else {})}
    made = {"id": ident, "type": kind, "title": title, "description": text, "pluginVersion": PLUGIN_VERSION, "datasource": PROMETHEUS,
        "gridPos": {"x": 0, "y": 0, "w": width, "h": height}, "targets": targets}
    made |= {"fieldConfig": {"defaults": defaults, "overrides": overrides}, "options": options}
    return made | ({"transformations": transformations} if transformations else {})


def lines(ident, title, text, unit, *targets, exemplars=False, stack=False, bars=False, limits=None, calcs=("lastNotNull", "max"), **field):
    """Series over time; `limits` are thresholds that are drawn."""
    custom = {"drawStyle": "bars" if bars else "line", "lineWidth": 1, "fillOpacity": 60 if bars else 10, "showPoints": "never",
        "spanNulls": False}
    custom |= {"stacking": {"mode": "normal" if stack else "none", "group": "A"}}
    custom |= {"thresholdsStyle": {"mode": "line"}} if limits else {}
    options = {"legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": list(calcs)},
        "tooltip": {"mode": "multi", "sort": "desc"}}
    field.setdefault("min", 0)
    field |= {"thresholds": limits} if limits else {}
    return panel("timeseries", ident, title, text, series(targets, exemplars), unit, options, custom, color={"mode": "palette-classic"},
        **field)


def stat(ident, title, text, unit, *targets, thresholds=None, objective=None, **field):
    """The value of now. `objective` is a query of the share that is demanded: above it green, below red."""
    queries = [instant(expr, legend, chr(65 + n)) for n, (expr, legend) in enumerate(targets)]
    if objective:
        queries.append(instant(objective, "objective", "objective"))
        field["transformations"] = [{"id": "configFromQuery", "options": {"configRefId": "objective",
            "mappings": [{"fieldName": "objective", "handlerKey": "min", "reducerId": "lastNotNull"}],
            "applyTo": {"id": "byFrameRefID", "options": "A"}}}]
        thresholds = {"mode": "percentage", "steps": [{"color": RED, "value": None}, {"color": GREEN, "value": 0}]}
        field |= {"max": 1, "decimals": 3}
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "orientation": "auto", "textMode": "auto",
        "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "wideLayout": True, "showPercentChange": False,
        "percentChangeColorMode": "standard"}
    field = {"w": 4, "h": 4, **field}
    return panel("stat", ident, title, text, queries, unit, options, thresholds=thresholds or steps(BLUE), color={"mode": "thresholds"},
        **field)


def table(ident, title, text, unit, columns, sort, links=None, hide=(), **field):
    """`columns` is {name: (expression, properties of the column)}; rows are joined by their labels. `links` is {column: links}."""
    refs = {name: chr(65 + n) for n, name in enumerate(columns)}
    targets = [instant(expr, "__auto", refs[name], "table") for name, (expr, _) in columns.items()]
    values_of = {("Value" if len(columns) == 1 else f"Value #{ref}"): name for name, ref in refs.items()}
    organize = {"excludeByName": {"Time": True, **{name: True for name in hide}}, "indexByName": {}, "renameByName": values_of}
    field["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    overrides = [override(name, **properties) for name, (_, properties) in columns.items() if properties]
    overrides += [override(name, links=to) for name, to in (links or {}).items()]
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True}
    options = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0, "sortBy": [{"displayName": sort, "desc": field.pop("desc", True)}]}
    return panel("table", ident, title, text, targets, unit, options, custom, overrides=overrides, **field)


def coloured(thresholds, **more):
    """A column whose cells carry the colour of their value."""
    return {"thresholds": thresholds, "custom__cellOptions": {"type": "color-background", "mode": "basic"}, **more}


def timeline(ident, title, text, names, *targets, **field):
    """States over time, a row per series; `names` as for values()."""
    options = {"mergeValues": True, "showValue": "auto", "alignValue": "left", "rowHeight": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"}}
    return panel("state-timeline", ident, title, text, series(targets), "short", options, {"fillOpacity": 80, "lineWidth": 0},
        mappings=values(names), color={"mode": "thresholds"}, thresholds=steps(GREEN), **field)


def heatmap(ident, title, text, unit, expr, **field):
    options = {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.5,
        "fill": "dark-orange", "reverse": False, "steps": 64}, "exemplars": {"color": "rgba(31, 120, 193, 0.9)"},
        "filterValues": {"le": 1e-9}}
    options |= {"legend": {"show": True}, "rowsFrame": {"layout": "auto"}, "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
        "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False}, "cellValues": {"unit": "cps"}}
    return panel("heatmap", ident, title, text, [query(expr, "{{le}}", format="heatmap", exemplar=True)], unit, options,
        {"scaleDistribution": {"type": "linear"}}, **field)


def logs(ident, title, text, expr, **field):
    options = {"showTime": True, "showLabels": False, "showCommonLabels": False, "showLogContextToggle": True, "wrapLogMessage": True,
        "prettifyLogMessage": False, "enableLogDetails": True, "dedupStrategy": "none", "sortOrder": "Descending"}
    made = panel("logs", ident, title, text, [{"refId": "A", "datasource": LOKI, "expr": expr, "queryType": "range", "editorMode": "code"}],
        "none", options, **field)
    return made | {"datasource": LOKI}


# ---- dashboards ---------------------------------------------------------------------------------


def datasource(kind):
    return {"type": "datasource", "name": f"{kind}_datasource", "label": f"{kind.title()} data source", "query": kind, "regex": "",
        "multi": False, "includeAll": False, "hide": 0, "refresh": 1, "options": []}


def variable(name, text, definition, all_value=None, hidden=False):
    """A list that is asked of Prometheus. Without `all_value`, All stands for every value in the list."""
    made = {"type": "query", "name": name, "label": name.title(), "description": text, "datasource": PROMETHEUS,
        "query": {"query": definition, "refId": f"variable-{name}"}, "definition": definition}
    made |= {"regex": "", "sort": 1, "refresh": 2, "multi": True, "includeAll": True, "hide": 2 if hidden else 0, "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return made | ({"allValue": all_value} if all_value else {})


def to_board(title, text, url, everything):
    """A link at the top. `everything` carries all variables; else the address names them."""
    return {"type": "link", "title": title, "tooltip": text, "url": url, "icon": "dashboard", "tags": [], "asDropdown": False,
        "includeVars": everything, "keepTime": True, "targetBlank": False}


def firing_alerts():
    """Alerts as marks on every panel."""
    expr = 'ALERTS{alertstate="firing",severity=~"page|channel|ticket",cluster=~"$cluster",topic=~"$topic|",group=~"$group|"}'
    return {"name": "Firing alerts", "datasource": PROMETHEUS, "enable": True, "hide": False, "iconColor": RED,
        "target": {"refId": "alerts", "expr": expr, "interval": "60s"}, "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{sli}} {{topic}} {{group}} {{broker}}", "tagKeys": "severity,team"}


def dashboard(uid, title, text, span, refresh, variables, links, rows):
    """Puts the panels of each (heading, id, panels) from left to right, 24 wide."""
    panels, y = [], 0
    for heading, ident, content in rows:
        panels.append({"id": ident, "type": "row", "title": heading, "collapsed": False, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": []})
        y, x, height = y + 1, 0, 0
        for one in content:
            place = one["gridPos"]
            if x + place["w"] > 24:
                x, y, height = 0, y + height, 0
            place |= {"x": x, "y": y}
            x, height = x + place["w"], max(height, place["h"])
            panels.append(one)
        y += height
    return {
        "uid": uid, "title": title, "description": text, "tags": ["throughline"], "schemaVersion": SCHEMA_VERSION, "version": 1,
            "editable": False, "graphTooltip": 1,
        "time": {"from": f"now-{span}", "to": "now"}, "timepicker": {}, "timezone": "", "refresh": refresh, "fiscalYearStartMonth": 0,
            "links": links,
        "annotations": {"list": [firing_alerts()]}, "templating": {"list": variables}, "panels": panels,
    }
