"""docs/privacy.md says of every sealed column what it is for, on which basis and how it is kept."""

import ast
import re
from collections.abc import Iterator

import pytest

from services.notify.models import metadata as of_notify
from services.portal.models import metadata as of_portal
from services.volunteers.models import metadata as of_volunteers
from tools.generate import ROOT

PAGE = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(\w+\.\w+)` \|(.+)\|$", re.MULTILINE)
#: What is sealed and of nobody: what the system itself signs and signs in with.
OF_NOBODY = {"signing_keys.private", "oidc_states.verifier"}
_COLUMNS = {
    str(column) for of in (of_notify, of_portal, of_volunteers) for table in of.tables.values() for column in table.c
}


def places(source: str) -> Iterator[str]:
    """Yield the places that a module names: what is sealed is bound to its column by ``table.column``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in _COLUMNS:
            yield node.value


def sealed() -> set[str]:
    files = [
        file for service in ("volunteers", "portal", "notify") for file in (ROOT / "services" / service).rglob("*.py")
    ]
    named = {place for file in files for place in places(file.read_text(encoding="utf-8"))}
    # Those of the person are made of the names of columns.
    return named | {f"volunteers.{name}" for name in ("name", "id_number", "phone", "guardian_consent")}


def missing(page: str) -> set[str]:
    return sealed() - OF_NOBODY - {name for name, _ in _ROW.findall(page)}


def test_every_sealed_column_stands_in_the_page() -> None:
    assert len(sealed()) > 10
    assert missing(PAGE) == set()


@pytest.mark.parametrize("name", ["volunteers.phone", "hour_claims.evidence", "accounts.display_name"])
def test_one_that_is_left_out_is_found(name: str) -> None:
    assert missing(re.sub(rf"^\| `{re.escape(name)}`.*\n", "", PAGE, flags=re.MULTILINE)) == {name}


def test_every_row_says_what_for_on_which_basis_and_how_it_is_kept() -> None:
    rows = _ROW.findall(PAGE)
    assert len(rows) > 10
    for name, rest in rows:
        said = [cell.strip() for cell in rest.split("|")]
        assert len(said) == 3, name
        assert all(said), name
