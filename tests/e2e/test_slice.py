"""One logged activity goes all the way: notice, team, activity, hours, statistics, star, acknowledgement."""

import io
from typing import Any

import pytest
from openpyxl import load_workbook

from tests.support.campaign import PATIENCE, WHOLE_DAY, Campaign
from tests.support.installation import Installation
from tests.support.waiting import wait_for
from xinhuo.chassis.ids import new_id
from xinhuo.contracts import codec

FIRST_STAR_MINUTES = 100 * 60


def events_about(installation: Installation, service: str, topic: str, text: str) -> list[codec.Envelope]:
    """Return a service's recorded events of a type that say a text."""
    rows = installation.rows(f"SELECT payload FROM {service}.outbox WHERE type = %s ORDER BY seq", topic)  # noqa: S608
    return [codec.decode(bytes(row["payload"])) for row in rows if text.encode() in bytes(row["payload"])]


def test_an_issued_notice_lays_each_duty_with_its_deadline_on_every_addressee(campaign: Campaign) -> None:
    duties = campaign.installation.get("notices", f"/v1/notices/{campaign.notice['id']}/obligations", limit=50)["items"]

    # "Before the 10th" includes the 10th until midnight in the office's time zone.
    assert {(duty["unit_code"], duty["code"], duty["due_on"], duty["due_at"]) for duty in duties} == {
        (unit, code, due_on, due_at)
        for unit in campaign.units
        for code, due_on, due_at in (
            ("PLAN", "2021-03-10", "2021-03-10T16:00:00Z"),
            ("SUMMARY", "2021-04-30", "2021-04-30T16:00:00Z"),
        )
    }
    assert {duty["state"] for duty in duties} <= {"open", "overdue"}


def test_logged_hours_reach_statistics_star_and_inbox_and_a_reversal_takes_the_star_back(campaign: Campaign) -> None:
    one = campaign.installation
    entries = [campaign.log(day, WHOLE_DAY) for day in range(1, 5)]
    rest = FIRST_STAR_MINUTES - 4 * WHOLE_DAY
    wait_for(lambda: campaign.statistics()["minutes"] == 4 * WHOLE_DAY, PATIENCE, "the statistics of four days")
    assert campaign.stars()["star"] == 0

    entries.append(campaign.log(10, rest))

    wait_for(lambda: campaign.statistics()["minutes"] == FIRST_STAR_MINUTES, PATIENCE, "the statistics of it all")
    wait_for(lambda: campaign.stars()["star"] == 1, PATIENCE, "the first star, of a hundred hours exactly")
    wait_for(lambda: len(campaign.inbox()) == len(entries) + 1, PATIENCE, "an acknowledgement of each, and of the star")
    inbox = campaign.inbox()
    assert sorted(message["occasion"] for message in inbox) == ["hours_logged"] * len(entries) + ["star_earned"]
    assert {m["subject_id"] for m in inbox if m["occasion"] == "hours_logged"} == {entry["id"] for entry in entries}
    assert all("感谢" in message["text"] for message in inbox)
    shown = one.get("volunteers", f"/v1/volunteers/{campaign.volunteer['id']}")
    assert (shown["minutes_total"], shown["entries"]) == (FIRST_STAR_MINUTES, len(entries))

    reversal = one.post("volunteers", f"/v1/hours/{entries[-1]['id']}:reverse", {"reason_code": "duplicate"})

    wait_for(lambda: campaign.stars()["star"] == 0, PATIENCE, "the star to be withdrawn")
    (withdrawn,) = wait_for(
        lambda: events_about(one, "awards", "awards.star_withdrawn.v1", campaign.volunteer["id"]),
        PATIENCE, "the event about it",
    )  # fmt: skip
    assert str(withdrawn.data.reversal_id) == reversal["id"]  # type: ignore[attr-defined]
    assert reversal["minutes"] == -rest
    (occurrence,) = campaign.stars()["occurrences"]
    assert occurrence["withdrawn_by"] == reversal["id"]
    wait_for(lambda: campaign.statistics()["minutes"] == 4 * WHOLE_DAY, PATIENCE, "the statistics without it")

    campaign.log(10, rest)

    again = wait_for(lambda: (found := campaign.stars())["star"] == 1 and found, PATIENCE, "the star once more")
    assert sorted(occurrence["occurrence"] for occurrence in again["occurrences"]) == [1, 2]
    wait_for(lambda: len(campaign.inbox()) == len(entries) + 3, PATIENCE, "thanks for the entry and the second star")
    wait_for(lambda: not any(one.troubles().values()), PATIENCE, "nothing to be left over")


def test_a_request_that_is_sent_again_with_its_key_has_one_effect(campaign: Campaign) -> None:
    one, key = campaign.installation, {"Idempotency-Key": new_id().hex}
    body = campaign.hours(3, 120)

    first = one.post("volunteers", "/v1/hours", body, headers=key)
    again = one.post("volunteers", "/v1/hours", body, headers=key)
    refused = one.post("volunteers", "/v1/hours", campaign.hours(4, 60), status=422, headers=key)

    assert again == first
    assert refused["code"].startswith("idempotency.")
    same = one.post("volunteers", "/v1/hours", body, status=200)
    assert same["id"] == first["id"]
    wait_for(lambda: campaign.statistics()["minutes"] == 120, PATIENCE, "the statistics")
    wait_for(lambda: len(campaign.inbox()) == 1, PATIENCE, "one acknowledgement")


def test_a_batch_enters_what_it_can_and_says_of_each_item_what_became_of_it(campaign: Campaign) -> None:
    items = [campaign.hours(5, 60), {**campaign.hours(5, 60), "minutes": 30}, campaign.hours(6, 120), {"minutes": 1}]

    answer = campaign.installation.post("volunteers", "/v1/hours:batch", {"items": items}, status=200)

    assert [item["status"] for item in answer["items"]] == ["entered", "refused", "entered", "refused"]
    assert all(item["problem"]["code"] for item in answer["items"] if item["status"] == "refused")
    wait_for(lambda: campaign.statistics()["minutes"] == 180, PATIENCE, "the statistics")


@pytest.mark.parametrize("group", ["unit", "team", "category", "month", "volunteer"])
def test_the_workbook_of_statistics_has_the_total_of_the_api(serving: Installation, group: str) -> None:
    shown = settled_totals(serving, group)

    book = load_workbook(io.BytesIO(serving.get("volunteers", "/v1/statistics.xlsx", group_by=group)))

    *rows, total = list(book.worksheets[0].iter_rows(min_row=2, values_only=True))
    assert total[0] == "合计"
    assert total[1] == shown["minutes"] == sum(row[1] for row in rows) > 0
    assert total[3] == shown["entries"] == sum(row[3] for row in rows)


def settled_totals(serving: Installation, group: str) -> dict[str, Any]:
    """Return the totals of the statistics when they have caught up with the ledger."""
    ledger = "SELECT sum(minutes) FROM volunteers.ledger_entries"

    def totals() -> dict[str, Any] | None:
        shown: dict[str, Any] = serving.get("volunteers", "/v1/statistics", group_by=group, limit=1)["totals"]
        return shown if shown["minutes"] == serving.scalar(ledger) else None

    found = wait_for(totals, PATIENCE, "the statistics to be still")
    assert found is not None
    return found
