"""From the description of a dashboard to the JSON that Grafana loads, by Grafana's own types."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from .alerts import limits_of

#: What is put into braces to choose by the variables at the top: whose figures, and of which namespace.
OURS = 'namespace=~"$namespace", service=~"$service"'
PLACE = 'namespace=~"$namespace"'
_SOURCE = DataSourceRef("prometheus", "${datasource}")
_RED, _GREEN = "red", "green"
_HEIGHT = {"stat": 4, "lines": 8, "area": 8, "table": 8}


@dataclass(frozen=True)
class Panel:
    """One panel; ``alert`` names the alert whose limit is drawn and whose runbook is linked."""

    zh: str
    en: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """Expression and legend of each line."""
    kind: str = "lines"
    width: int = 8
    alert: str = ""
    also: tuple[str, ...] = ()
    """Other alerts about it, whose runbooks are linked, too."""
    limit: float | None = None
    """At what it turns red; by itself, at the first number that the alert compares with."""
    low_is_bad: bool = False
    decimals: int | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    zh: str
    en: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard."""

    name: str
    zh: str
    en: str
    rows: tuple[Row, ...]
    by_service: bool = True
    """Whether the variable ``service`` is offered."""
    hours: int = 6


def text_of(board: Board, others: Sequence[Board]) -> str:
    """Return the JSON of a dashboard, the same each time."""
    builder = (
        dashboard.Dashboard(f"薪火 · {board.zh}")
        .uid(f"xinhuo-{board.name}")
        .description(board.en)
        .tags(["xinhuo", "generated"])
        .timezone("Asia/Shanghai")
        .time(f"now-{board.hours}h", "now")
        .refresh("1m")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("数据源 / data source").type("prometheus"))
        .with_variable(_choice("namespace", "命名空间 / namespace", 'label_values(up{job="xinhuo"}, namespace)'))
    )
    if board.by_service:
        services = 'label_values(up{job="xinhuo", namespace=~"$namespace"}, service)'
        builder = builder.with_variable(_choice("service", "服务 / service", services))
    place = VariableOption(selected=True, text="/runbooks", value="/runbooks")
    builder = builder.with_variable(
        dashboard.TextBoxVariable("runbooks")
        .label("处置手册所在 / where the runbooks are")
        .default_value("/runbooks")
        .current(place)
        .options([place])
    )
    for other in others:
        if other is not board:
            builder = builder.link(
                dashboard.DashboardLink(other.zh)
                .type(DashboardLinkType.LINK)
                .url(f"/d/xinhuo-{other.name}")
                .tooltip(other.en)
                .keep_time(True)
                .include_vars(True)
            )
    number = 0
    for row in board.rows:
        number += 1
        builder = builder.with_row(dashboard.Row(f"{row.zh} / {row.en}").id(number))
        for panel in row.panels:
            number += 1
            builder = builder.with_panel(_panel(panel).id(number))
    made = json.loads(JSONEncoder().encode(builder.build()))
    return json.dumps(made, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(_SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # Without Kubernetes nothing has a namespace; this takes that, too.
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(panel: Panel) -> Any:
    builder: Any
    if panel.kind == "stat":
        builder = stat.Panel().graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE)
        builder = builder.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    elif panel.kind == "table":
        builder = table.Panel().show_header(True)
    else:
        builder = (
            timeseries.Panel()
            .fill_opacity(20 if panel.kind == "area" else 5)
            .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
            .legend(
                common.VizLegendOptions()
                .display_mode(LegendDisplayMode.TABLE)
                .placement(LegendPlacement.BOTTOM)
                .calcs(["lastNotNull", "max"])
                .show_legend(True)
            )
        )
        if panel.kind == "area":
            builder = builder.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    builder = (
        builder.title(panel.zh)
        .description(_description(panel))
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(_HEIGHT[panel.kind])
    )
    if panel.decimals is not None:
        builder = builder.decimals(panel.decimals)
    limit = _limit(panel)
    steps = [Threshold(None, _GREEN)]
    if limit is not None:
        steps = (
            [Threshold(None, _RED), Threshold(limit, _GREEN)] if panel.low_is_bad else [*steps, Threshold(limit, _RED)]
        )
        if panel.kind == "lines":
            style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
            builder = builder.thresholds_style(style)
    builder = builder.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    builder = builder.links([_runbook(alert) for alert in _alerts_of(panel)])
    for letter, (expression, legend) in zip("ABCDEFGH", panel.queries, strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        asked = query.instant().format(PromQueryFormat.TABLE) if panel.kind == "table" else query.range()
        builder = builder.with_target(asked)
    return builder


def _limit(panel: Panel) -> float | None:
    if panel.limit is not None or not panel.alert:
        return panel.limit
    return next(iter(limits_of(panel.alert)), None)


def _alerts_of(panel: Panel) -> list[str]:
    return [alert for alert in (panel.alert, *panel.also) if alert]


def _runbook(alert: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(f"处置手册 / runbook: {alert}").type(DashboardLinkType.LINK)
    return link.url(f"${{runbooks}}/{alert}.md").target_blank(True)


def _description(panel: Panel) -> str:
    alerts = _alerts_of(panel)
    for alert in alerts:
        limits_of(alert)  # there is such an alert
    said = ", ".join(f"{alert} (deploy/monitoring/runbooks/{alert}.md)" for alert in alerts)
    return f"{panel.en} Alert: {said}." if said else panel.en
