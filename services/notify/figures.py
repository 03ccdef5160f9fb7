"""What notify shows in its metrics of what volunteers were told."""

from prometheus_client import Counter

from xinhuo.chassis.metrics import declare

MESSAGES_SENT = declare(
    Counter, "xinhuo_messages_sent_total",
    "交给渠道的消息：written 新消息，restored 重放时恢复、不再通知",
    "Messages handed to a channel: written anew, or restored by a replay and told to nobody again.",
    ["channel", "outcome"],
)  # fmt: skip
INBOX = "inbox"
