"""The campaign as the office sees it."""

from .build import PLACE, Board, Panel, Row

_ALL = "{" + PLACE + "}"

BOARD = Board(
    "campaign-overview",
    "活动总览",
    "What the campaign came to: people, hours, duties of units, messages, and whether anything waits for somebody.",
    (
        Row("现状", "Now", (
            Panel("登记的志愿者", "Registered volunteers, whatever their state.", "short",
                  ((f"sum(max by (state) (xinhuo_volunteers_registered{_ALL}))", "志愿者 / volunteers"),), "stat", 4),
            Panel("累计服务时长", "Hours of service in the statistics, reversed ones taken off.", "h",
                  ((f"max(xinhuo_statistics_minutes{_ALL}) / 60", "小时 / hours"),), "stat", 4, decimals=0),
            Panel("24 小时新增时长", "Hours of service that went into the statistics in the last 24 hours.", "h",
                  ((f'sum(increase(xinhuo_service_minutes_total{{kind="logged", {PLACE}}}[24h])) / 60',
                    "小时 / hours"),), "stat", 4, decimals=0),
            Panel("24 小时致谢消息", "Messages written in the last 24 hours.", "short",
                  ((f'sum(increase(xinhuo_messages_sent_total{{outcome="written", {PLACE}}}[24h]))',
                    "消息 / messages"),), "stat", 4, decimals=0),
            Panel("逾期任务", "Duties of units whose deadline has passed.", "short",
                  ((f'sum(max by (state) (xinhuo_obligations{{state="overdue", {PLACE}}})) or vector(0)',
                    "逾期 / overdue"),), "stat", 4, limit=1),
            Panel("待处理的死信", "Events that had no effect and wait for a decision.", "short",
                  ((f"sum(max by (service, reason) (xinhuo_dead_letters{_ALL})) or vector(0)",
                    "死信 / dead letters"),), "stat", 4, alert="XinhuoDeadLetterNotEmpty", limit=1),
        )),
        Row("人与时长", "People and hours", (
            Panel("志愿者（按状态）", "Registered volunteers, by state.", "short",
                  ((f"max by (state) (xinhuo_volunteers_registered{_ALL})", "{{state}}"),), "area", 12),
            Panel("每小时登记的服务时长", "Hours of service per hour that were logged and reversed.", "h",
                  ((f"sum by (kind) (increase(xinhuo_service_minutes_total{_ALL}[1h])) / 60", "{{kind}}"),),
                  width=12),
        )),
        Row("任务与消息", "Duties and messages", (
            Panel("各单位任务（按状态）", "Duties of units, by state.", "short",
                  ((f"max by (state) (xinhuo_obligations{_ALL})", "{{state}}"),), "area"),
            Panel("每小时消息", "Messages per hour, by channel: written anew, or restored by a replay.", "short",
                  ((f"sum by (channel, outcome) (increase(xinhuo_messages_sent_total{_ALL}[1h]))",
                    "{{channel}} {{outcome}}"),)),
            Panel("每小时发生的事情", "Facts per hour, by type of event.", "short",
                  ((f"sum by (topic) (increase(xinhuo_events_recorded_total{_ALL}[1h]))", "{{topic}}"),)),
        )),
    ),
    by_service=False,
    hours=24 * 7,
)  # fmt: skip
