"""Units and notices for tests: the wording of real notices, no real person."""

from typing import Any

from werkzeug.test import Client, TestResponse

PHRASE_NUMBER_6 = "台教办〔2020〕6号"

UNITS: list[dict[str, Any]] = [
    {"code": "TS-JY", "name": "台山市教育局", "aliases": ["市教育局"], "kind": "education_bureau"},
    {
        "code": "TS-ZX-01",
        "name": "甲镇中心小学",
        "kind": "central_primary",
        "parent_code": "TS-JY",
        "staff_count": 199,
        "student_count": 2999,
        "counted_on": "2020-03-01",
    },
    {
        "code": "TS-ZX-02",
        "name": "乙镇中心小学",
        "kind": "central_primary",
        "parent_code": "TS-JY",
        "staff_count": 200,
        "student_count": 3000,
        "counted_on": "2020-03-01",
    },
    {"code": "TS-MS-01", "name": "台山市第一中学", "kind": "middle_school", "parent_code": "TS-JY"},
    {"code": "TS-KG-01", "name": "台山市机关幼儿园", "kind": "kindergarten", "parent_code": "TS-JY"},
    {
        "code": "TS-TJ",
        "name": "台山市特殊教育学校",
        "kind": "special_school",
        "groups": ["有关单位"],
        "parent_code": "TS-JY",
    },
]

#: Kindergartens plan and report but may not nominate; a nomination late by a day is forfeited.
NOTICE_6: dict[str, Any] = {
    "number": PHRASE_NUMBER_6,
    "title": "关于开展2020年新时代文明实践“践行雷锋精神 全民志愿战疫”助力打赢防疫攻坚战的通知",
    "issuers": [{"name": "台山市教育局办公室", "unit_code": "TS-JY"}],
    "issued_on": "2020-03-04",
    "theme": "践行雷锋精神 全民志愿战疫",
    "period": {"phrase": "3月至4月"},
    "contact_office": "局机关党委",
    "addressees": {
        "kinds": ["central_primary", "middle_school", "kindergarten"],
        "groups": ["有关单位"],
    },
    "categories": [
        {"code": "care-medics", "name": "“守护天使，致敬最美逆行”关爱行动", "service_class": "0017"},
        {
            "code": "moral-lecture",
            "name": "线上学雷锋主题道德讲堂和线上团日活动",
            "counts_hours": False,
            "not_volunteer_reason": "NV2",
        },
        {"code": "net-works", "name": "网络文明创作行动", "service_class": "0010"},
        {"code": "help-needy", "name": "扶贫帮困志愿服务活动", "service_class": "0002"},
        {"code": "epidemic", "name": "疫情防控宣传和关爱志愿者主题活动", "service_class": "0004"},
    ],
    "obligations": [
        {
            "code": "nomination",
            "kind": "nomination",
            "title": "推荐学雷锋先进集体、积极分子并报送登记表",
            "receiver": "局机关党委",
            "due_on": "2020-04-17",
            "due_phrase": "4月17日前",
            "lateness": "forfeit",
            "units": {"kinds": ["central_primary", "middle_school"], "groups": ["有关单位"]},
        },
        {
            "code": "material",
            "kind": "activity_material",
            "title": "报送活动图片、文字资料或视频",
            "receiver": "局机关党委",
            "due_phrase": "每次开展活动后及时",
            "due_rule": "活动结束后3个工作日内",
            "system_default": True,
            "lateness": "late_flag",
        },
        {
            "code": "year-plan",
            "kind": "year_plan",
            "title": "制定覆盖全年的志愿服务活动方案",
            "receiver": "本单位",
            "lateness": "reminder",
        },
    ],
}


def register_units(client: Client, units: list[dict[str, Any]] | None = None) -> None:
    """Register the units of the tests."""
    for unit in UNITS if units is None else units:
        answer = client.post("/v1/units", json=unit)
        assert answer.status_code == 201, answer.text


def draft(client: Client, **changes: Any) -> TestResponse:
    """Draft 台教办〔2020〕6号 with some parts changed."""
    return client.post("/v1/notices", json={**NOTICE_6, **changes})


def issue(client: Client, notice_id: str) -> TestResponse:
    """Issue a notice."""
    return client.post(f"/v1/notices/{notice_id}:issue")


def codes_of(answer: TestResponse) -> dict[str, str]:
    """Return the code of each problem in an answer by its pointer."""
    assert answer.json is not None
    return {error["pointer"]: error["code"] for error in answer.json["errors"]}
