"""Grafana's dashboards in deploy/monitoring/dashboards, made from descriptions in Python by ``make docs``."""

from collections.abc import Iterator

from . import campaign, flow, services, slo, stores
from .build import text_of

FOLDER = "deploy/monitoring/dashboards"
ALL = (campaign.BOARD, flow.BOARD, services.BOARD, stores.BOARD, slo.BOARD)


def files() -> Iterator[tuple[str, str]]:
    """Yield path and text of each."""
    for board in ALL:
        yield f"{FOLDER}/{board.name}.json", text_of(board, ALL)
