"""A small campaign on a running installation, made over HTTP as offices and schools would."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tests.support.hours import id_number
from tests.support.installation import Installation
from tests.support.waiting import wait_for
from xinhuo.chassis.ids import new_id

PATIENCE = 30
WHOLE_DAY = 24 * 60


@dataclass
class Campaign:
    """A notice to two schools, and a team of one of them with an activity and a verified volunteer."""

    installation: Installation
    units: list[str]
    notice: dict[str, Any]
    team: str
    activity: dict[str, Any]
    volunteer: dict[str, Any]

    def hours(self, day: int, minutes: int) -> dict[str, Any]:
        """Return a body of POST /v1/hours: time served from midnight on a day of March 2021."""
        return {
            "volunteer_id": self.volunteer["id"],
            "activity_id": self.activity["id"],
            "started_at": f"2021-03-{day:02d}T00:00:00+08:00",
            "ended_at": f"2021-03-{day + minutes // WHOLE_DAY:02d}T{minutes % WHOLE_DAY // 60:02d}:00:00+08:00",
        }

    def log(self, day: int, minutes: int) -> dict[str, Any]:
        """Enter time served."""
        found: dict[str, Any] = self.installation.post("volunteers", "/v1/hours", self.hours(day, minutes))
        return found

    def statistics(self) -> dict[str, Any]:
        """Return what the statistics say of the unit in all."""
        found: dict[str, Any] = self.installation.get("volunteers", "/v1/statistics", unit=self.units[0])["totals"]
        return found

    def inbox(self) -> list[dict[str, Any]]:
        """Return the volunteer's messages."""
        found = self.installation.get("notify", f"/v1/volunteers/{self.volunteer['id']}/inbox", limit=50)
        items: list[dict[str, Any]] = found["items"]
        return items

    def stars(self) -> dict[str, Any]:
        """Return the volunteer's star."""
        found: dict[str, Any] = self.installation.get("awards", f"/v1/volunteers/{self.volunteer['id']}/stars")
        return found


def make_campaign(serving: Installation) -> Campaign:
    """Make a campaign of its own over HTTP."""
    mark = new_id().hex[-8:].upper()
    units = [f"E2E-{mark}-{number}" for number in (1, 2)]
    serving.unit = units[0]
    for number, code in enumerate(units, 1):
        serving.post(
            "notices", "/v1/units", {"code": code, "name": f"测试小学{mark}{number}", "kind": "central_primary"}
        )
    notice = serving.post("notices", "/v1/notices", notice_to(units, mark))
    notice = serving.post("notices", f"/v1/notices/{notice['id']}:issue", status=200)
    known = (
        "SELECT (SELECT count(*) FROM volunteers.known_notices WHERE number = %s)"
        " + (SELECT count(*) FROM volunteers.known_units WHERE code = ANY(%s))"
    )
    wait_for(
        lambda: serving.scalar(known, notice["number"], units) == 1 + len(units), PATIENCE,
        "volunteers to hear of the units and the notice",
    )  # fmt: skip
    team = f"T-{mark}"
    serving.post("volunteers", "/v1/teams", {"code": team, "name": "测试队", "unit_code": units[0]})
    activity = serving.post(
        "volunteers",
        "/v1/activities",
        {
            "title": "整理社区书屋", "team_code": team, "notice": notice["number"], "category": "community",
            "starts_at": "2021-03-01T00:00:00+08:00", "ends_at": "2021-03-31T00:00:00+08:00", "place": "社区书屋",
        },
    )  # fmt: skip
    born = date(1970, 1, 1) + timedelta(days=int(mark, 16) % 9000)
    person = {"name": "测试员甲", "id_number": id_number(born), "phone": "14200010001", "unit_code": units[0]}
    volunteer = register(serving, {**person, "team_code": team})
    return Campaign(serving, units, notice, team, activity, volunteer)


def register(serving: Installation, person: dict[str, Any]) -> dict[str, Any]:
    made = serving.post("volunteers", "/v1/volunteers", person)
    verified: dict[str, Any] = serving.post("volunteers", f"/v1/volunteers/{made['id']}:verify", status=200)
    return verified


def notice_to(units: list[str], mark: str) -> dict[str, Any]:
    return {
        "number": f"测教办〔2021〕{int(mark, 16) % 99_000 + 1}号",
        "title": "关于开展学雷锋志愿服务月活动的通知",
        "issuers": [{"name": "测试区教育局"}],
        "issued_on": "2021-03-01",
        "period": {"starts": "2021-03", "ends": "2021-04"},
        "addressees": {"codes": units},
        "categories": [{"code": "community", "name": "社区服务", "service_class": "0010"}],
        "obligations": [
            {"code": "PLAN", "kind": "plan", "title": "报送活动方案", "receiver": "测试区教育局",
             "lateness": "late_flag", "due_on": "2021-03-10", "due_phrase": "3月10日前"},
            {"code": "SUMMARY", "kind": "summary", "title": "报送活动总结", "receiver": "测试区教育局",
             "lateness": "late_flag", "due_on": "2021-04-30", "due_phrase": "4月30日前"},
        ],
    }  # fmt: skip
