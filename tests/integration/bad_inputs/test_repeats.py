"""44-45: one Idempotency-Key for two requests."""

import io
import threading
from typing import Any

import pytest

from services.volunteers.commands import people
from tests.integration.bad_inputs.problems import check_problem, personal_values
from tests.integration.bad_inputs.scene import Scene, answer_of
from tests.support.hours import person

NUMBERS = {44, 45}


def test_44_the_same_key_with_another_body_is_refused(scene: Scene, written: io.StringIO) -> None:
    first, second = person(scene.world.unit_code), person(scene.world.unit_code)
    headers = {"Idempotency-Key": "a-form-sent-twice"}
    made = answer_of(scene.send("volunteers", "POST", "/v1/volunteers", first, headers=headers), 201)
    with scene.tables.unchanged():
        other = scene.send("volunteers", "POST", "/v1/volunteers", second, headers=headers)
        again = scene.send("volunteers", "POST", "/v1/volunteers", first, headers=headers)
    check_problem(
        other.status_code, other.headers["Content-Type"], other.get_data(as_text=True),
        expected=422, code="idempotency.key_reused", hidden=personal_values([first, second]),
    )  # fmt: skip
    assert (answer_of(again, 201), again.headers["Idempotency-Replayed"]) == (made, "true")
    assert not any(value in written.getvalue() for value in personal_values([first, second]))


def test_45_the_same_key_while_the_first_is_at_work_is_a_conflict(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, at_work, go_on = people.register_volunteer, threading.Event(), threading.Event()

    def slowly(*arguments: Any, **named: Any) -> Any:
        at_work.set()
        assert go_on.wait(20)
        return register(*arguments, **named)

    monkeypatch.setattr(people, "register_volunteer", slowly)
    body, headers = person(scene.world.unit_code), {"Idempotency-Key": "in-flight"}
    answers: list[Any] = []
    first = threading.Thread(
        target=lambda: answers.append(scene.send("volunteers", "POST", "/v1/volunteers", body, headers=headers))
    )
    first.start()
    try:
        assert at_work.wait(20)
        with scene.tables.unchanged():
            second = scene.send("volunteers", "POST", "/v1/volunteers", body, headers=headers)
    finally:
        go_on.set()
        first.join(20)
    check_problem(
        second.status_code, second.headers["Content-Type"], second.get_data(as_text=True),
        expected=409, code="idempotency.in_flight",
    )  # fmt: skip
    made = answer_of(answers[0], 201)
    replayed = scene.send("volunteers", "POST", "/v1/volunteers", body, headers=headers)
    assert answer_of(replayed, 201) == made
