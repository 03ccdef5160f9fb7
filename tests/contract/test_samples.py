"""Golden samples: what was once published can be read for ever, and the public form gives nothing away."""

import json
import shutil
import subprocess
from copy import deepcopy

import msgspec
import pytest

from tests.support.json_schema import violations
from tools import event_files
from tools.generate import ROOT
from xinhuo.contracts import codec
from xinhuo.contracts.base import internal_fields, load_all

FOLDER = ROOT / event_files.CONTRACTS
LISTED = event_files.listed_hashes((ROOT / event_files.HASHES).read_text())
EVENTS = event_files.events()
PUBLIC = [event for event in EVENTS if event.public]


def topic_of(event):
    return event.topic


def schema_of(topic, *, public=False):
    return json.loads((FOLDER / "schemas" / f"{topic}{'.public' if public else ''}.json").read_text())


def includes(whole, part):
    """Say whether all of ``part`` is in ``whole``, which may have fields that came later."""
    if isinstance(part, dict):
        return all(name in whole and includes(whole[name], value) for name, value in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(includes, whole, part))
    return bool(whole == part)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_sample_is_read_as_an_event_of_today_with_the_same_values(name):
    body = (FOLDER / name).read_bytes()
    sample = json.loads(body)
    envelope = codec.decode(body)
    assert type(envelope.data) is load_all()[sample["type"]]
    assert codec.decode(codec.encode(envelope)) == envelope
    again = json.loads(codec.encode(envelope))
    assert includes(again, sample), "every field of the sample is still known, with the same meaning"
    assert list(violations(sample, schema_of(sample["type"]))) == []


@pytest.mark.parametrize("event", EVENTS, ids=topic_of)
def test_the_newest_sample_is_byte_for_byte_what_is_written_today(event):
    body = (ROOT / event_files.sample_path(event)).read_bytes()
    assert event_files.sample_text(codec.decode(body)).encode() == body
    assert list(violations(json.loads(body), schema_of(event.topic))) == []


@pytest.mark.parametrize("event", PUBLIC, ids=topic_of)
def test_the_public_form_of_a_sample_has_every_public_field_and_no_internal_one(event):
    envelope = codec.decode((ROOT / event_files.sample_path(event)).read_bytes())
    public = json.loads(codec.encode_public(envelope))
    names = {field.name for field in msgspec.structs.fields(event)}
    assert set(public["data"]) == names - internal_fields(event)
    assert list(violations(public, schema_of(event.topic, public=True))) == []
    assert public["dataschema"] == schema_of(event.topic, public=True)["properties"]["data"]["$id"]


@pytest.mark.parametrize("event", PUBLIC, ids=topic_of)
def test_the_public_schema_names_no_internal_field_and_refuses_one(event):
    schema = schema_of(event.topic, public=True)
    text = json.dumps(schema)
    assert [name for name in internal_fields(event) if name in text] == []
    whole = json.loads((ROOT / event_files.sample_path(event)).read_text())
    refused = {line.split(":")[0] for line in violations(whole, schema)}
    assert {f"/data/{name}" for name in internal_fields(event)} <= refused


@pytest.mark.parametrize("event", EVENTS, ids=topic_of)
def test_the_schema_refuses_a_sample_with_a_required_field_missing_or_of_another_type(event):
    schema = schema_of(event.topic)
    sample = json.loads((ROOT / event_files.sample_path(event)).read_text())
    for name in schema["required"]:
        assert list(violations({key: of for key, of in sample.items() if key != name}, schema)) == [f"/{name}: missing"]
    for name in sample["data"]:
        odd = deepcopy(sample)
        odd["data"][name] = {"odd": True}
        assert list(violations(odd, schema)), name


@pytest.mark.parametrize("event", EVENTS, ids=topic_of)
def test_the_schema_and_the_decoder_ignore_a_field_that_comes_later(event):
    sample = json.loads((ROOT / event_files.sample_path(event)).read_text())
    sample["data"]["comes_later"] = sample["comeslater"] = 1
    assert list(violations(sample, schema_of(event.topic))) == []
    assert type(codec.decode(json.dumps(sample).encode()).data) is event


def is_continued(before, now):
    return now.startswith(before)


def test_a_list_with_a_line_changed_or_removed_does_not_continue_the_one_before():
    before = "aa  samples/a.json\nbb  samples/b.json\n"
    assert is_continued(before, before + "cc  samples/c.json\n")
    assert not is_continued(before, before.replace("aa", "ac"))
    assert not is_continued(before, "aa  samples/a.json\n")


def test_the_list_of_the_last_release_is_the_beginning_of_todays():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    tag = subprocess.run(
        [git, "describe", "--tags", "--abbrev=0", "--match", "v*"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if tag.returncode != 0:
        pytest.skip("nothing was released yet")
    released = subprocess.run(
        [git, "show", f"{tag.stdout.strip()}:{event_files.HASHES}"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert is_continued(released.stdout, (ROOT / event_files.HASHES).read_text())
