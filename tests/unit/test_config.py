"""Settings are checked together at start; what is wrong is listed whole, and secrets are not repeated."""

from dataclasses import fields
from pathlib import Path

import pytest

from xinhuo.chassis import config
from xinhuo.chassis.config import SERVICES, BadSettings, Settings

URL = "postgresql://xinhuo:pw@db.example:5432/xinhuo"


def test_without_an_environment_every_setting_has_its_default():
    assert config.load({}) == Settings()
    assert Settings().port_base == 8000
    assert Settings().time_zone == "Asia/Shanghai"


@pytest.mark.parametrize("text", ["", "  ", "\t"])
def test_an_empty_variable_counts_as_not_set(text):
    assert config.load({"XINHUO_PORT_BASE": text, "DATABASE_URL": text, "NOTICES_DATABASE_URL": text}) == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("AMQP_URI", "amqp://u:p@mq:5672/xinhuo", "amqp_uri", "amqp://u:p@mq:5672/xinhuo"),
        ("AMQP_URI", "amqps://mq/xinhuo", "amqp_uri", "amqps://mq/xinhuo"),
        ("XINHUO_RABBITMQ_API", "https://u:p@mq:15671/", "rabbitmq_api", "https://u:p@mq:15671"),
        ("DATABASE_URL", URL, "database_url", URL.replace("postgresql", "postgresql+psycopg")),
        ("DATABASE_URL", "postgres://h/x", "database_url", "postgresql+psycopg://h/x"),
        ("DATABASE_URL", "postgresql+psycopg://h/x", "database_url", "postgresql+psycopg://h/x"),
        ("DATABASE_URL", "postgresql:///x?host=/run/pg", "database_url", "postgresql+psycopg:///x?host=/run/pg"),
        ("XINHUO_DATA", "/srv/my data", "data", Path("/srv/my data")),
        ("XINHUO_DATA", "~/xinhuo", "data", Path("~/xinhuo").expanduser()),
        ("XINHUO_KEY_FILE", "/run/key", "key_file", Path("/run/key")),
        ("XINHUO_HOST", "0.0.0.0", "host", "0.0.0.0"),  # noqa: S104
        ("XINHUO_PORT_BASE", " 9000 ", "port_base", 9000),
        ("XINHUO_PORT_BASE", "1", "port_base", 1),
        ("XINHUO_PORT_BASE", "65000", "port_base", 65000),
        ("XINHUO_TIME_ZONE", "Asia/Urumqi", "time_zone", "Asia/Urumqi"),
        ("XINHUO_LOG_LEVEL", "debug", "log_level", "debug"),
        ("XINHUO_BATCH_WINDOW_MS", "0", "batch_window_ms", 0),
        ("XINHUO_BODY_LIMIT", "1024", "body_limit", 1024),
    ],
)
def test_a_good_value_is_read(variable, text, name, value):
    assert getattr(config.load({variable: text}), name) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("AMQP_URI", "mq:5672"),
        ("XINHUO_RABBITMQ_API", "mq:15672"),
        ("XINHUO_RABBITMQ_API", "amqp://mq:5672"),
        ("AMQP_URI", "http://mq/xinhuo"),
        ("AMQP_URI", "amqp:///xinhuo"),
        ("AMQP_URI", "amqp://mq:567x/xinhuo"),
        ("AMQP_URI", "amqp://mq:0/xinhuo"),
        ("AMQP_URI", "amqp://[::1/xinhuo"),
        ("AMQP_URI", "memory://"),
        ("DATABASE_URL", "mysql://h/x"),
        ("DATABASE_URL", "sqlite:///x"),
        ("DATABASE_URL", "postgresql://h"),
        ("DATABASE_URL", "postgresql://h/"),
        ("DATABASE_URL", "postgresql://h:543x/x"),
        ("DATABASE_URL", "postgresql://h:70000/x"),
        ("DATABASE_URL", "postgresql://[::1/x"),
        ("DATABASE_URL", "here"),
        ("AWARDS_DATABASE_URL", "mysql://h/x"),
        ("XINHUO_DATA", "~nobody-of-this-name/x"),
        ("XINHUO_HOST", "two words"),
        ("XINHUO_PORT_BASE", "0"),
        ("XINHUO_PORT_BASE", "65001"),
        ("XINHUO_PORT_BASE", "eight"),
        ("XINHUO_PORT_BASE", "80.5"),
        ("XINHUO_TIME_ZONE", "Asia/Peking"),
        ("XINHUO_TIME_ZONE", "../etc/passwd"),
        ("XINHUO_TIME_ZONE", "/etc/passwd"),
        ("XINHUO_LOG_LEVEL", "loud"),
        ("XINHUO_LOG_LEVEL", "INFO"),
        ("XINHUO_DB_POOL", "1"),
        ("XINHUO_BATCH_MAX", "-1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name_with_the_form_it_must_have(variable, text):
    with pytest.raises(BadSettings) as caught:
        config.load({variable: text})
    (problem,) = caught.value.problems
    name, _, rest = problem.partition("=")
    form = rest.partition("must be: ")[2]
    assert name == variable
    assert form


def test_all_that_is_wrong_is_listed_at_once_in_both_languages():
    with pytest.raises(BadSettings) as caught:
        config.load(
            {"XINHUO_PORT_BASE": "x", "XINHUO_LOG_LEVEL": "loud", "DATABASE_URL": "x", "NOTIFY_DATABASE_URL": "x"}
        )
    assert [problem.partition("=")[0] for problem in caught.value.problems] == [
        "DATABASE_URL",
        "XINHUO_PORT_BASE",
        "XINHUO_LOG_LEVEL",
        "NOTIFY_DATABASE_URL",
    ]
    text = str(caught.value)
    assert "设置有误 / bad settings" in text
    assert "XINHUO_PORT_BASE='x'：应为 / must be: 整数 1–65000 / a whole number from 1 to 65000" in text
    assert "debug | info | warning | error" in text


SECRETS = [item.metadata["variable"] for item in fields(Settings) if item.metadata.get("secret")]


@pytest.mark.parametrize("variable", [*SECRETS, *(f"{name.upper()}_DATABASE_URL" for name in SERVICES)])
def test_the_value_of_a_secret_setting_is_not_repeated(variable):
    with pytest.raises(BadSettings) as caught:
        config.load({variable: "mysql://root:hunter2@db.example"})
    shown = f"{caught.value}{caught.value!r}{caught.value.problems}"
    assert "hunter2" not in shown
    assert variable in shown


@pytest.mark.parametrize("variable", config.secret_variables())
def test_a_secret_setting_may_stand_in_a_file(variable, tmp_path):
    text = {"XINHUO_KEY_COMMAND": "/bin/vault read", "XINHUO_SERVICE_KEY": "xhk_a.b", "AMQP_URI": "amqp://mq/v",
            "XINHUO_RABBITMQ_API": "http://mq:15672"}.get(variable, "postgresql://db/xinhuo")  # fmt: skip
    (tmp_path / "secret").write_text(text + "\n")
    others = {"XINHUO_OIDC_ISSUER": "http://id", "XINHUO_OIDC_CLIENT_ID": "x",
              "XINHUO_OIDC_REDIRECT_URL": "http://h/back"} if "OIDC" in variable else {}  # fmt: skip
    by_file = config.load({f"{variable}_FILE": str(tmp_path / "secret"), **others})
    assert by_file == config.load({variable: text, **others})
    assert by_file != config.load({})


def test_a_file_of_a_secret_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(BadSettings) as caught:
        config.load(
            {
                "AMQP_URI_FILE": str(tmp_path / "missing"),
                "DATABASE_URL_FILE": str(tmp_path / "empty"),
                "NOTIFY_DATABASE_URL_FILE": str(tmp_path / "bytes"),
                "XINHUO_SERVICE_KEY_FILE": str(tmp_path / "empty"),
                "XINHUO_SERVICE_KEY": "xhk_a.b",
            }
        )
    assert [problem.partition("_FILE")[0] for problem in caught.value.problems] == [
        "AMQP_URI", "DATABASE_URL", "XINHUO_SERVICE_KEY", "NOTIFY_DATABASE_URL",
    ]  # fmt: skip
    assert "No such file" in caught.value.problems[0]
    assert "只能设一个" in caught.value.problems[2]


def test_what_is_wrong_in_a_file_of_a_secret_is_not_repeated(tmp_path):
    (tmp_path / "secret").write_text("mysql://root:hunter2@db.example")
    with pytest.raises(BadSettings) as caught:
        config.load({"DATABASE_URL_FILE": str(tmp_path / "secret")})
    assert "hunter2" not in f"{caught.value}{caught.value.problems}"


def test_addresses_with_passwords_are_secret():
    assert SECRETS == [
        "AMQP_URI", "XINHUO_RABBITMQ_API", "DATABASE_URL", "XINHUO_KEY_COMMAND", "XINHUO_SERVICE_KEY",
        "XINHUO_OIDC_CLIENT_SECRET",
    ]  # fmt: skip


def test_the_url_of_a_service_goes_before_the_common_one():
    settings = config.load({"DATABASE_URL": "postgresql://h/common", "AWARDS_DATABASE_URL": "postgres://h/own"})
    assert settings.database_url_of("awards") == "postgresql+psycopg://h/own"
    assert settings.database_url_of("notices") == "postgresql+psycopg://h/common"


def test_a_service_without_a_url_says_which_settings_it_needs():
    with pytest.raises(BadSettings, match=r"缺少 DATABASE_URL 或 NOTIFY_DATABASE_URL .* is needed to run notify"):
        config.load({"AWARDS_DATABASE_URL": "postgres://h/own"}).database_url_of("notify")


def test_the_ports_follow_the_first_one():
    settings = config.load({"XINHUO_PORT_BASE": "9000"})
    assert {name: settings.port_of(name) for name in SERVICES} == {
        "notices": 9001,
        "volunteers": 9002,
        "awards": 9003,
        "notify": 9004,
        "portal": 9005,
    }


def test_what_the_command_line_says_goes_before_the_environment():
    environment = {"XINHUO_PORT_BASE": "9000", "XINHUO_DATA": "/a"}
    settings = config.load(environment, port_base=7000, data=None)
    assert (settings.port_base, settings.data) == (7000, Path("/a"))


@pytest.mark.parametrize(
    "item", [item for item in fields(Settings) if item.metadata], ids=lambda item: item.metadata["variable"]
)
def test_every_setting_says_what_it_is_in_both_languages_and_which_form_it_has(item):
    about = item.metadata
    assert about["zh"] != about["en"]
    assert about["en"].isascii()
    assert config.form_of(about["parse"])
    assert item.default is None or about["parse"](str(item.default)) == item.default
