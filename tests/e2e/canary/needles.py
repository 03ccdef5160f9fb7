"""The search itself: every secret in every form in which bytes may hold it."""

import base64
import gzip
import hashlib
import html
import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

_TEXTS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")
_MOST_UNPACKED = 50_000_000
_BEGIN = 8


@dataclass(frozen=True)
class Spot:
    """Something that was written or sent: of which kind, what it is called, and its bytes."""

    kind: str
    name: str
    data: bytes


@dataclass(frozen=True, order=True)
class Hit:
    """A secret at a spot, with the form it has there."""

    kind: str
    name: str
    secret: str
    form: str


class Needles:
    """All forms of the given secrets; what is packed is unpacked before it is searched."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        forms: dict[bytes, tuple[str, str]] = {}
        for what, text in secrets.items():
            for form, needle in _forms(text):
                forms.setdefault(needle, (what, form))
        self._forms = forms
        self._by_begin: dict[bytes, list[bytes]] = {}
        for needle in forms:
            assert len(needle) >= _BEGIN, f"{forms[needle]} is too short to be told from chance"
            self._by_begin.setdefault(needle[:_BEGIN], []).append(needle)
        self._seen: dict[bytes, frozenset[tuple[str, str]]] = {}

    def hits(self, spots: Iterable[Spot]) -> list[Hit]:
        """Return every secret that shows, in the order of the spots' names."""
        found = {hit for spot in spots for data in _unpacked(spot.data) for hit in self._in(spot, data)}
        return sorted(found)

    def _in(self, spot: Spot, data: bytes) -> Iterator[Hit]:
        if data not in self._seen:
            self._seen[data] = frozenset(self._found(data))
        return (Hit(spot.kind, spot.name, what, form) for what, form in self._seen[data])

    def _found(self, data: bytes) -> Iterator[tuple[str, str]]:
        # One walk for all of the thousands of needles: at each place, those that begin with what stands there.
        begins = self._by_begin
        for place in range(len(data) - _BEGIN + 1):
            if (begin := data[place : place + _BEGIN]) in begins:
                yield from (self._forms[needle] for needle in begins[begin] if data.startswith(needle, place))


def _forms(text: str) -> Iterator[tuple[str, bytes]]:
    spelled = {name: text.encode(name) for name in _TEXTS}
    spelled["json"] = json.dumps(text)[1:-1].encode()
    for name, data in spelled.items():
        yield name, data
        for start in range(3):
            # What stands before decides how the bytes fall into groups of three; the ends depend on neighbours.
            code = base64.b64encode(bytes(start) + data)[-(-start * 8 // 6) :].rstrip(b"=")
            whole = code[: -1 if (start + len(data)) % 3 else None]
            yield f"base64 of {name}", whole
            yield f"base64 of {name}, for addresses", whole.translate(bytes.maketrans(b"+/", b"-_"))
        yield f"hexadecimal of {name}", data.hex().encode()
        yield f"HEXADECIMAL of {name}", data.hex().upper().encode()
    yield "JSON", json.dumps(text)[1:-1].upper().replace("\\U", "\\u").encode()
    yield "address", quote(text).encode()
    yield "address", quote(text).lower().encode()
    yield "bytes of Python", repr(text.encode())[2:-1].encode()
    yield "html", "".join(f"&#{ord(one)};" for one in text).encode()
    yield "html", "".join(f"&#x{ord(one):x};" for one in text).encode()
    yield "html", html.escape(text).encode()
    # A hash without a key is as good as the number: there are few enough to try them all.
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()
        yield f"{algorithm} without a key", digest
        yield f"{algorithm} without a key", digest.hex().encode()
        yield f"{algorithm} without a key", base64.b64encode(digest).rstrip(b"=")


def _unpacked(data: bytes, depth: int = 3) -> Iterator[bytes]:
    yield data
    if depth == 0:
        return
    if data.startswith(b"PK\x03\x04") and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            for member in package.infolist():
                if member.file_size <= _MOST_UNPACKED:
                    yield from _unpacked(package.read(member), depth - 1)
    for magic, unpack in ((b"\x1f\x8b", gzip.decompress), (b"\x78", zlib.decompress)):
        if data.startswith(magic):
            try:
                yield from _unpacked(unpack(data), depth - 1)
            except (OSError, EOFError, zlib.error):
                continue  # it only begins like one
