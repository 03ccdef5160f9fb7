"""Bodies without a mistake, made from the scene, with some fields changed."""

from collections.abc import Callable
from typing import Any

from tests.integration.bad_inputs.scene import Scene
from tests.support.hours import person
from tests.support.notices import NOTICE_6

Make = Callable[[Scene], Any]


def hours(**changes: Any) -> Make:
    return lambda scene: scene.hours(**changes)


def someone(**changes: Any) -> Make:
    return lambda scene: {**person(scene.world.unit_code, name="测试员丙"), **changes}


def activity(**changes: Any) -> Make:
    def make(scene: Scene) -> dict[str, Any]:
        return {
            "title": "清洁家园",
            "team_code": scene.world.team_code,
            "category": "help-needy",
            "starts_at": "2026-03-05T08:00:00+08:00",
            "ends_at": "2026-03-05T18:00:00+08:00",
            "place": "社区广场",
            **changes,
        }

    return make


def unit(**changes: Any) -> Make:
    return lambda _scene: {"code": "TS-NEW", "name": "新单位", "kind": "town", **changes}


def notice(**changes: Any) -> Make:
    return lambda _scene: {**NOTICE_6, "number": "台教办〔2021〕77号", **changes}
