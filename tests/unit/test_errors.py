"""Errors carry a stable code, one status, both languages, and nothing personal in what a log prints."""

import copy
import pickle

import pytest

from xinhuo.chassis import errors
from xinhuo.chassis.errors import (
    BadRequest,
    Conflict,
    DuplicateCode,
    InvalidInput,
    NotFound,
    PermanentEventError,
    PreconditionFailed,
    Problem,
    RetryEventLater,
    RuleError,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
    all_codes,
)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Keep the codes of these tests out of the registry that the documentation is made from."""
    monkeypatch.setattr(errors, "_registry", dict(errors._registry))


class KettleTooFull(Conflict):
    """The kettle is too full."""

    code = "kettle.too_full"
    title = "水壶太满"
    clause = "茶水管理办法第一条"

    def __init__(self, litres, *, secret):
        super().__init__(
            f"水壶装了{litres}升（{secret}），请倒掉一些。",
            f"The kettle holds {litres} l ({secret}); pour some out.",
            pointer="/litres",
            extra={"litres": litres},
        )


errors._registry.pop("kettle.too_full")


@pytest.mark.parametrize(
    ("base", "status"),
    [
        (RuleError, 422),
        (InvalidInput, 422),
        (BadRequest, 400),
        (NotFound, 404),
        (Conflict, 409),
        (PreconditionFailed, 412),
        (TooLarge, 413),
        (UnsupportedMediaType, 415),
        (Unavailable, 503),
    ],
)
def test_each_base_has_one_status(base, status):
    assert base.status == status


def test_an_error_carries_code_status_texts_place_and_clause():
    error = KettleTooFull(9, secret="x")
    assert (error.code, error.status, error.pointer) == ("kettle.too_full", 409, "/litres")
    assert error.extra == {"litres": 9}
    assert error.clause == "茶水管理办法第一条"
    assert "请倒掉" in error.zh
    assert "pour some out" in error.en
    assert error.problems == [Problem("/litres", "kettle.too_full", error.zh, error.en)]


def test_what_a_log_prints_holds_nothing_that_the_user_typed():
    error = KettleTooFull(9, secret="11010519491231002X")
    for shown in (str(error), repr(error), repr(error.args), f"{error!s:>80}"):
        assert "11010519491231002X" not in shown
    assert str(error) == "kettle.too_full at /litres: The kettle is too full."
    assert repr(error) == "<KettleTooFull kettle.too_full at /litres: The kettle is too full.>"


def test_an_error_without_a_place_has_no_problem_with_a_field():
    error = KettleTooFull(9, secret="x")
    error.pointer = None
    assert error.problems == []
    assert str(error) == "kettle.too_full: The kettle is too full."
    assert error.at("/items/3/litres") is error
    assert error.problems[0].pointer == "/items/3/litres"


def test_a_clause_of_the_instance_goes_before_that_of_the_class():
    class Spilt(RuleError):
        """Water was spilt."""

        code = "kettle.spilt"
        title = "洒水"
        clause = "第一条"

    assert Spilt("洒了。", "Spilt.").clause == "第一条"
    assert Spilt("洒了。", "Spilt.", clause="第二条").clause == "第二条"
    assert Spilt.clause == "第一条"


@pytest.mark.parametrize("way", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301
def test_an_error_survives_the_way_between_processes(way):
    error = way(KettleTooFull(9, secret="x").at("/other"))
    assert type(error) is KettleTooFull
    assert (error.pointer, error.extra, error.args) == ("/other", {"litres": 9}, ("kettle.too_full",))
    assert "9升" in error.zh


def test_several_problems_make_one_input_error_in_their_order():
    found = [KettleTooFull(9, secret="x"), KettleTooFull(8, secret="y").at("/spare")]
    error = InvalidInput.of(found)
    assert (error.code, error.status) == ("input.invalid", 422)
    assert [problem.pointer for problem in error.problems] == ["/litres", "/spare"]
    assert "2 处" in error.zh
    assert "2 problem" in error.en
    assert InvalidInput(error.problems).problems == error.problems


@pytest.mark.parametrize("base", [RuleError, Conflict, NotFound])
def test_a_base_without_a_code_cannot_be_raised(base):
    with pytest.raises(TypeError, match="base class"):
        base("不行。", "No.")


def test_an_event_error_without_a_code_cannot_be_raised():
    with pytest.raises(TypeError, match="base class"):
        PermanentEventError("no")


def test_every_code_is_listed_with_what_the_documentation_needs():
    class KettleCold(RuleError):
        """The kettle is cold."""

        code = "kettle.cold"
        title = "水壶是凉的"
        clause = "第三条"

    class KettleBroken(PermanentEventError):
        """The kettle is broken."""

        code = "kettle.broken"
        title = "水壶坏了"

    listed = all_codes()
    assert list(listed) == sorted(listed)
    cold, broken = listed["kettle.cold"], listed["kettle.broken"]
    assert (cold.status, cold.title, cold.title_en, cold.clause) == (
        422,
        "水壶是凉的",
        "The kettle is cold.",
        "第三条",
    )
    assert cold.name.endswith("KettleCold")
    assert (broken.status, broken.clause) == (None, None)
    assert str(KettleBroken("kettle 7 leaks")) == "kettle.broken: kettle 7 leaks"
    assert "input.invalid" in listed


def test_a_second_class_with_the_same_code_fails_at_import():
    with pytest.raises(DuplicateCode, match=r"input\.invalid.*InvalidInput"):
        type("Copycat", (RuleError,), {"code": "input.invalid", "title": "冒名", "__module__": __name__})


def test_a_reloaded_module_may_declare_its_codes_again():
    spec = {"code": "kettle.again", "title": "再来", "__module__": __name__, "__qualname__": "Again"}
    type("Again", (RuleError,), dict(spec))
    type("Again", (RuleError,), dict(spec))
    assert all_codes()["kettle.again"].title_en == "Again", "without a docstring the name is the title"


@pytest.mark.parametrize("code", ["Kettle.cold", "kettle", "kettle.", "kettle.co ld", "1kettle.cold"])
def test_a_code_that_is_not_subject_and_rule_fails_at_import(code):
    with pytest.raises(TypeError, match="subject"):
        type("Odd", (RuleError,), {"code": code, "title": "怪"})


def test_a_code_without_a_chinese_title_fails_at_import():
    with pytest.raises(TypeError, match="Chinese title"):
        type("Untitled", (RuleError,), {"code": "kettle.untitled"})


def test_asking_for_a_later_try_may_name_the_wait():
    assert RetryEventLater("original not seen").delay_seconds is None
    later = RetryEventLater("original not seen", delay_seconds=600)
    assert (later.reason, later.delay_seconds, str(later)) == ("original not seen", 600, "original not seen")
    with pytest.raises(ValueError, match="negative"):
        RetryEventLater("original not seen", delay_seconds=-1)
