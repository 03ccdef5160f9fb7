"""Events on their way: recorded, sent, queued, in effect, or set aside."""

from .build import OURS, PLACE, Board, Panel, Row

_OURS = "{" + OURS + "}"
_BY_SERVICE = '{service=~"$service"}'


def _age(share: float) -> str:
    buckets = f"sum by (le, service) (rate(xinhuo_event_age_seconds_bucket{_OURS}[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


BOARD = Board(
    "event-flow",
    "事件流转",
    "Where an event is between the fact and its effects, and what holds it up.",
    (
        Row("从发生到生效", "From the fact to its effect", (
            Panel("生效用时", "From the moment a fact became true to its effect, slowest 5 % and median.", "s",
                  ((_age(0.95), "95% {{service}}"), (_age(0.5), "50% {{service}}")), width=12,
                  alert="XinhuoEventAgeHigh"),
            Panel("写入的事件", "Events written to the outbox per second, by type.", "cps",
                  ((f"sum by (topic) (rate(xinhuo_events_recorded_total{{{PLACE}}}[$__rate_interval]))",
                    "{{topic}}"),), width=12),
        )),
        Row("发出", "Sending", (
            Panel("待发事件", "Events recorded and not yet sent.", "short",
                  ((f"max by (service) (xinhuo_outbox_pending{_OURS})", "{{service}}"),)),
            Panel("最早未发事件的等待", "How long the oldest event that was not sent has waited.", "s",
                  ((f"max by (service) (xinhuo_outbox_oldest_unpublished_age_seconds{_OURS})", "{{service}}"),),
                  alert="XinhuoOutboxStalled"),
            Panel("最早未抄送部门事件的等待", "How long the oldest event that was not copied has waited.", "s",
                  ((f"max by (service) (xinhuo_outbox_oldest_uncopied_age_seconds{_OURS})", "{{service}}"),),
                  alert="XinhuoDepartmentCopiesLate"),
            Panel("发出的事件", "Events handed to RabbitMQ per second, by lane.", "cps",
                  ((f'sum by (service, lane) (rate(xinhuo_events_published_total{{outcome="ok", {PLACE}}}'
                    "[$__rate_interval]))", "{{lane}}"),)),
            Panel("无处可去的事件", "Events in five minutes that no queue took, or that have no public form.", "short",
                  ((f'sum by (topic, outcome) (increase(xinhuo_events_published_total{{outcome!="ok", {PLACE}}}[5m]))',
                    "{{topic}} {{outcome}}"),), alert="XinhuoUnroutableMessages", limit=1),
            Panel("没有读取者的队列", "Queues that nobody reads.", "short",
                  ((f"count by (service) (xinhuo:queue_consumers{_BY_SERVICE} == 0)", "{{service}}"),),
                  alert="XinhuoQueueHasNoConsumers", also=("XinhuoQueueMissing",), limit=1),
        )),
        Row("排队与处理", "Queues and handlers", (
            Panel("队列长度", "Messages in each queue; a message holds up to 100 events.", "short",
                  ((f"xinhuo:queue_messages{_BY_SERVICE}", "{{queue}}"),), alert="XinhuoQueueGrowing"),
            Panel("处理的事件", "Events per second that took effect, by handler.", "cps",
                  ((f'sum by (handler) (rate(xinhuo_events_consumed_total{{outcome="ok", {OURS}}}[$__rate_interval]))',
                    "{{handler}}"),)),
            Panel("一批事件的处理时间", "Time to handle one batch, slowest 5 %, by handler.", "s",
                  (("histogram_quantile(0.95, sum by (le, handler) "
                    f"(rate(xinhuo_event_handling_seconds_bucket{_OURS}[$__rate_interval])))", "{{handler}}"),)),
        )),
        Row("未能生效", "Without effect", (
            Panel("重复、重试与暂存", "Events per second that came twice, were tried again, or set aside.", "cps",
                  ((f'sum by (service, outcome) (rate(xinhuo_events_consumed_total{{outcome!="ok", {OURS}}}'
                    "[$__rate_interval]))", "{{service}} {{outcome}}"),)),
            Panel("待处理的死信", "Events that wait for a decision, by why.", "short",
                  ((f"max by (service, reason) (xinhuo_dead_letters{_OURS})", "{{service}} {{reason}}"),), "area",
                  alert="XinhuoDeadLetterNotEmpty", limit=1),
            Panel("已作的决定", "What was decided about dead letters, in all.", "short",
                  ((f"max by (service, action, outcome) (xinhuo_dead_letters_decided_total{_OURS})",
                    "{{service}} {{action}} {{outcome}}"),)),
        )),
    ),
)  # fmt: skip
