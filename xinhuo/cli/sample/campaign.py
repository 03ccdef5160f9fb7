"""The sample's register: units, notices, teams and activities, as requests to the services."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from importlib import resources
from typing import Any, cast
from zoneinfo import ZoneInfo

OFFICE_ZONE = ZoneInfo("Asia/Shanghai")
_OPENS, _CLOSES = time(7), time(22)

#: Units with a team of their own: the name of the team follows the unit's.
_TEAM_UNITS = (
    "TS-TSW", "TS-YGL", "TS-YX01", "TS-YX02", "TS-YX03", "TS-YX04", "TS-YX05", "TS-YX06", "TS-ZX01", "TS-ZX02",
    "TS-ZX03", "TS-ZX04", "TS-ZX05", "TS-ZZ01", "TS-TX01", "TS-YE01", "TS-ZH01", "TS-ZH02",
    "LK-DQ", "LK-SHSW", "LK-CG", "LK-SCJG", "LK-TGW", "LK-YJZ", "LK-LJZ",
)  # fmt: skip
_JOINT, _EDUCATION, _ZONE = "团台联字〔2020〕3号", "台教办〔2020〕6号", "资临空发〔2023〕17号"

#: What a category is called in the title of an activity, and where it takes place.
_DOINGS = {
    "XL-HUYI": ("致敬最美逆行者关爱行动", "线上与居家"),
    "XL-CHUANGZUO": ("网络文明创作行动", "线上与居家"),
    "XL-FUGONG": ("助力复工复产复学", "厂区与校门口"),
    "XL-WENMING": ("共建文明城市社区服务", "所在社区"),
    "XL-BANGKUN": ("扶贫帮困结对服务", "所在镇街"),
    "XL-XUANCHUAN": ("疫情防控宣传", "志愿服务站"),
    "LK-XUANJIANG": ("党的声音进万家宣讲", "新时代文明实践站"),
    "LK-XIANGCUN": ("助力乡村振兴服务", "各村"),
    "LK-LAOXIAO": ("关爱一老一小", "所在社区"),
    "LK-XINFENG": ("文明新风共践行", "主要路口"),
    "LK-JIESHUI": ("节水护水宣传", "河边公园"),
    "LK-YILIAO": ("健康义诊与防病宣传", "便民服务点"),
    "LK-CHENGXIN": ("诚信共建消费维权宣传", "农贸市场"),
}
_BY_NOTICE = {
    _JOINT: ("XL-FUGONG", "XL-WENMING", "XL-HUYI", "XL-XUANCHUAN", "XL-CHUANGZUO", "XL-BANGKUN"),
    _EDUCATION: ("XL-XUANCHUAN", "XL-BANGKUN", "XL-HUYI", "XL-CHUANGZUO"),
    _ZONE: (
        "LK-XUANJIANG", "LK-LAOXIAO", "LK-XINFENG", "LK-CHENGXIN", "LK-XIANGCUN", "LK-JIESHUI", "LK-YILIAO",
    ),
}  # fmt: skip
#: Activities of whole months outside the campaigns: (month, days, team, category, title, place).
_BESIDE = (
    ("2020-05", 31, "TSW", "RC-HUXUE", "复学护学岗", "各学校门口"),
    ("2020-06", 30, "YGL", "RC-HUANBAO", "世界环境日清洁行动", "海滨公园"),
    ("2020-09", 30, "ZH01", "RC-SHEQU", "社区邻里互助", "青禾镇各社区"),
    ("2020-10", 31, "ZH02", "RC-JINGLAO", "重阳敬老服务", "白鹭街道各社区"),
    ("2020-12", 31, "YGL", "RC-DAXING", "国际志愿者日系列服务", "市民广场"),
    ("2021-03", 31, "TSW", "RC-SHEQU", "学雷锋月社区服务", "各社区"),
    ("2023-04", 30, "TGW", "RC-HUANBAO", "护绿植绿服务", "湿地公园"),
    ("2023-05", 31, "SHSW", "RC-ZHUCAN", "助残日结对服务", "便民服务中心"),
    ("2023-06", 30, "CG", "RC-JIAOTONG", "路口文明劝导", "主要路口"),
    ("2023-09", 30, "YJZ", "RC-JINGLAO", "敬老月走访", "雁江镇各村"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Team:
    """A team of volunteers of one unit."""

    code: str
    name: str
    unit_code: str

    def request(self) -> dict[str, Any]:
        """Return the team as the volunteers service takes it."""
        return {"code": self.code, "name": self.name, "unit_code": self.unit_code}


@dataclass(frozen=True, slots=True)
class Activity:
    """An activity that goes on from its first to its last day."""

    number: str
    title: str
    team_code: str
    category: str
    notice: str | None
    first_day: date
    last_day: date
    place: str

    @property
    def region(self) -> str:
        """TS or LK, whose volunteers take part."""
        return self.team_code[2:4]

    @property
    def days(self) -> list[date]:
        """The days it goes on."""
        return [self.first_day + timedelta(days=n) for n in range((self.last_day - self.first_day).days + 1)]

    def request(self) -> dict[str, Any]:
        """Return the activity as the volunteers service takes it."""
        fields = {
            "number": self.number,
            "title": self.title,
            "team_code": self.team_code,
            "category": self.category,
            "starts_at": datetime.combine(self.first_day, _OPENS, OFFICE_ZONE).isoformat(),
            "ends_at": datetime.combine(self.last_day, _CLOSES, OFFICE_ZONE).isoformat(),
            "place": self.place,
        }
        return fields if self.notice is None else {**fields, "notice": self.notice}


def units() -> list[dict[str, Any]]:
    """Return the units as the notices service takes them, parents first."""
    data = _read("units.yaml")
    found = []
    for code, name, kind, parent, staff, students, groups, aliases in data["units"]:
        unit = {
            "code": code,
            "name": name,
            "kind": kind,
            "parent_code": parent,
            "groups": groups,
            "aliases": aliases,
        }
        counted = {"staff_count": staff, "student_count": students, "counted_on": data["counted_on"]}
        found.append({field: value for field, value in (unit | counted).items() if value not in (None, [])})
    return found


def notices() -> list[dict[str, Any]]:
    """Return the notices as the notices service takes them."""
    return cast("list[dict[str, Any]]", _read("notices.yaml"))


def teams() -> list[Team]:
    """Return the teams."""
    names = {unit["code"]: unit["name"] for unit in units()}
    return [Team(f"T-{code}", f"{names[code]}志愿服务队", code) for code in _TEAM_UNITS]


def activities() -> list[Activity]:
    """Return the activities: two of each team in its campaign, and some of whole months beside it."""
    found: list[Activity] = []
    by_code = {team.code: team for team in teams()}
    turn = dict.fromkeys(_BY_NOTICE, 0)
    for team in by_code.values():
        notice = _notice_for(team.unit_code)
        for first, last in _windows(notice):
            categories = _BY_NOTICE[notice]
            category = categories[turn[notice] % len(categories)]
            turn[notice] += 1
            doing, place = _DOINGS[category]
            owner = team.name.removesuffix("志愿服务队")
            title = f"{owner}{doing}（{first.month}月）"
            number = f"YL-{first.year}-{len(found) + 1:03d}"
            found.append(Activity(number, title, team.code, category, notice, first, last, place))
    for month, days, owner, category, title, place in _BESIDE:
        first = date.fromisoformat(f"{month}-01")
        team_code = f"T-{'TS' if first.year < 2023 else 'LK'}-{owner}"
        number = f"YL-{first.year}-{len(found) + 1:03d}"
        last = first.replace(day=days)
        found.append(
            Activity(number, f"{title}（{month}）", by_code[team_code].code, category, None, first, last, place)
        )
    return found


def _notice_for(unit_code: str) -> str:
    if unit_code.startswith("LK"):
        return _ZONE
    return _EDUCATION if unit_code[3:5] in {"YX", "ZX", "ZZ", "TX", "YE"} else _JOINT


def _windows(notice: str) -> tuple[tuple[date, date], ...]:
    if notice == _ZONE:
        return ((date(2023, 3, 9), date(2023, 3, 20)), (date(2023, 3, 21), date(2023, 3, 31)))
    return ((date(2020, 3, 5), date(2020, 3, 31)), (date(2020, 4, 1), date(2020, 4, 30)))


def _read(name: str) -> Any:
    import yaml

    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return _plain(yaml.safe_load(text))


def _plain(value: Any) -> Any:
    """Turn the dates that YAML reads into the texts that JSON carries."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value
