"""The plan of a proof, and what its checker must know of its own."""

import json

import pytest
from typer.testing import CliRunner

from xinhuo.cli import build
from xinhuo.cli.main import app
from xinhuo.cli.prove import faults
from xinhuo.cli.prove.effects import HANDLERS
from xinhuo.cli.prove.stirring import TARGETS


@pytest.mark.parametrize("seed", range(20))
def test_ninety_seconds_hold_at_least_eight_faults_of_four_kinds(seed: int) -> None:
    planned = faults.plan(seed, 90, list(faults.KINDS))

    assert len(planned) >= 8
    assert len({fault.kind for fault in planned}) >= 4
    assert [fault.at for fault in planned] == sorted(fault.at for fault in planned)


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    kinds = list(faults.KINDS)

    assert faults.plan(7, 60, kinds) == faults.plan(7, 60, kinds)
    assert faults.plan(7, 60, kinds) != faults.plan(8, 60, kinds)


def test_only_the_kinds_that_are_allowed_are_planned() -> None:
    allowed = [kind for kind in faults.KINDS if kind not in faults.OWN_SERVERS]

    assert {fault.kind for fault in faults.plan(1, 600, allowed)} == set(allowed)


def test_the_checker_knows_every_subscription() -> None:
    """It is written down there once more, so that a subscription that the product forgets is missed."""
    bound = {
        (exchange.removesuffix(".events"), key, queue.name)
        for queue in build.full_topology().queues
        for exchange, key in queue.bindings
        if exchange.endswith(".events")
    }

    known = {(*topic.split(".", 1), handler) for topic, handlers in HANDLERS.items() for _schema, handler in handlers}

    assert bound == known


def test_poison_knows_in_how_many_queues_it_lands() -> None:
    queues = build.full_topology().queues

    for exchange, key, copies in TARGETS:
        assert sum((exchange, key) in queue.bindings for queue in queues) == copies, (exchange, key)


def test_the_command_lists_its_faults_without_doing_any() -> None:
    result = CliRunner().invoke(app, ["prove", "--dry-run", "--seed", "7", "--json"])

    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["seed"] == 7
    assert {fault["kind"] for fault in found["faults"]}.isdisjoint(faults.OWN_SERVERS)
