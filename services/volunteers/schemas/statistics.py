"""What the API takes and shows of statistics."""

from typing import Any

import marshmallow as ma
from marshmallow import fields as mf

from xinhuo.chassis.web.schema import Choice, Code, Month, Page, Schema, Text, Uuid

GROUPS = ("unit", "team", "category", "month", "volunteer")


class _Filters(Schema):
    group_by = Choice(GROUPS, load_default="unit")
    unit = Code(load_default=None)
    team = Code(load_default=None)
    category = Code(load_default=None)
    since = Month(data_key="from", load_default=None, metadata={"description": "first month, YYYY-MM"})
    until = Month(data_key="to", load_default=None, metadata={"description": "last month, included"})

    @ma.validates_schema
    def _months_in_order(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("since") and data.get("until") and data["since"] > data["until"]:
            raise ma.ValidationError(
                "field.out_of_range|截止月份不能早于起始月份|The last month must not be before the first.", "to"
            )


class StatisticsQuery(_Filters, Page):
    """How to group, and what to leave out."""


class StatisticsExport(_Filters):
    """How to group, and what to leave out; the workbook has all rows."""


class StatisticsRow(Schema):
    """One group: the field that names it, and what counts in it."""

    unit_code = Code()
    team_code = Code()
    category = Code()
    month = Month()
    volunteer_id = Uuid()
    volunteer_no = Text()
    minutes = mf.Integer()
    entries = mf.Integer()
