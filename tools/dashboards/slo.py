"""Objectives and what is left of their error budgets."""

from .alerts import limits_of
from .build import Board, Panel, Row

_ALL = '{service=~"$service"}'
#: Of the alerts' expressions: one long window each, with the burn above which it fires.
_FAST_1H, _, _, _FAST_6H = limits_of("XinhuoErrorBudgetBurnFast")[:4]
_SLOW_3D = limits_of("XinhuoErrorBudgetBurnSlow")[0]


def _burn(window: str, limit: float, alert: str, zh: str) -> Panel:
    return Panel(
        f"消耗速度（{zh}）",
        f"How fast the budget is spent over {window}: at 1, that of 30 days lasts 30 days.",
        "short",
        ((f"xinhuo:slo_burn:rate{window}{_ALL}", "{{service}} {{slo}}"),),
        alert=alert,
        limit=limit,
    )


BOARD = Board(
    "slo",
    "目标与误差预算",
    "99.5 % of events without becoming dead letters, 95 % in effect within 5 s, 99.5 % of requests without 5xx.",
    (
        Row("30 天预算", "Budgets of 30 days", (
            Panel("剩余预算：事件", "What is left of the budget for dead letters; below 0 the objective is missed.",
                  "percentunit", ((f'xinhuo:slo_budget_left:ratio30d{{slo="events", {_ALL[1:]}', "{{service}}"),),
                  "stat", limit=0, low_is_bad=True, decimals=1),
            Panel("剩余预算：时效", "What is left of the budget for late events; below 0 the objective is missed.",
                  "percentunit", ((f'xinhuo:slo_budget_left:ratio30d{{slo="age", {_ALL[1:]}', "{{service}}"),),
                  "stat", limit=0, low_is_bad=True, decimals=1),
            Panel("剩余预算：接口", "What is left of the budget for 5xx; below 0 the objective is missed.",
                  "percentunit", ((f'xinhuo:slo_budget_left:ratio30d{{slo="api", {_ALL[1:]}', "{{service}}"),),
                  "stat", limit=0, low_is_bad=True, decimals=1),
        )),
        Row("消耗速度", "Burn rates", (
            _burn("1h", _FAST_1H, "XinhuoErrorBudgetBurnFast", "1 小时"),
            _burn("6h", _FAST_6H, "XinhuoErrorBudgetBurnFast", "6 小时"),
            _burn("3d", _SLOW_3D, "XinhuoErrorBudgetBurnSlow", "3 天"),
        )),
        Row("误差", "Errors", (
            Panel("误差占比（5 分钟）", "Share that went wrong in five minutes, by objective.", "percentunit",
                  ((f"xinhuo:slo_errors:ratio_rate5m{_ALL}", "{{service}} {{slo}}"),
                   ("xinhuo:slo_budget:ratio", "允许 / allowed {{slo}}"))),
            Panel("1 小时内的误差次数", "How many went wrong in an hour; fewer than ten call nobody.", "short",
                  ((f"xinhuo:slo_bad:increase1h{_ALL}", "{{service}} {{slo}}"),),
                  limit=limits_of("XinhuoErrorBudgetBurnFast")[2]),
            Panel("事件生效用时（95%）", "The slowest 5 % of events take so long and longer.", "s",
                  ((f"xinhuo:event_age_seconds:p95_5m{_ALL}", "{{service}}"),), alert="XinhuoEventAgeHigh"),
        )),
    ),
    hours=24 * 7,
)  # fmt: skip
