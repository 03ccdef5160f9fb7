"""Is this file a plain .xlsx workbook? Looks at the container before anything is parsed; trusts nothing in it."""

from __future__ import annotations

import io
import posixpath
import re
import stat
import zipfile
import zlib

from ..domain.workbooks import (
    EncryptedWorkbook,
    ExternalLinksRefused,
    LegacyWorkbook,
    MacrosRefused,
    NotAWorkbook,
    WorkbookUnreadable,
    ZipBomb,
)

MOST_ENTRIES = 1000
MOST_RATIO = 100
#: Small members may compress well: the ratio counts from here on (bytes unpacked).
RATIO_FLOOR = 1024 * 1024
MOST_UNPACKED = 200 * 1024 * 1024
_CHUNK = 1024 * 1024

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BIFF = (b"\x09\x08", b"\x09\x04", b"\x09\x02", b"\x09\x00")
_ARCHIVES = (b"PK\x03\x04", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00")
_ARCHIVE_NAMES = (".zip", ".7z", ".rar", ".gz", ".xlsx", ".xlsm", ".xlsb", ".docx", ".docm", ".pptx", ".jar")
_REFERENCE_FOLDERS = ("xl/externallinks/", "xl/querytables/", "xl/connections", "xl/embeddings/", "xl/activex/")
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b[^>]*>")
_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)|<\x00!\x00(?:D\x00O\x00C|E\x00N\x00T)", re.IGNORECASE)


def open_package(data: bytes) -> zipfile.ZipFile:
    """Return the container of a workbook after checking it for everything a plain .xlsx has no need of.

    Raises one of the file errors of ``domain.workbooks``.
    """
    _refuse_others(data)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        _check_directory(archive)
        for member in archive.infolist():
            if not member.is_dir():
                _check_member(archive, member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError):
        raise WorkbookUnreadable from None
    if "xl/workbook.xml" not in _lower_names(archive):
        raise NotAWorkbook("archive")
    return archive


def _refuse_others(data: bytes) -> None:
    """Say what a file is that is no zip at all."""
    if data.startswith(b"PK\x03\x04"):
        return
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise EncryptedWorkbook
        raise LegacyWorkbook
    if data.startswith(_BIFF):
        raise LegacyWorkbook
    raise NotAWorkbook(_kind_of(data))


def _kind_of(data: bytes) -> str:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not data.strip():
        return "empty"
    if head.startswith((b"<html", b"<!doctype html", b"<table", b"<?xml", b"<meta")):
        return "html"
    if data.startswith(_ARCHIVES):
        return "archive"
    if b"\0" not in head and any(_reads(data[:4096], encoding) for encoding in ("utf-8", "gb18030")):
        return "text"
    return "unknown"


def _reads(data: bytes, encoding: str) -> bool:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # The piece may end in the middle of a character.
        if error.start < len(data) - 4:
            return False
        text = data[: error.start].decode(encoding)
    return all(character.isprintable() or character in "\r\n\t" for character in text)


def _lower_names(archive: zipfile.ZipFile) -> set[str]:
    return {member.filename.lower() for member in archive.infolist()}


def _check_directory(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MOST_ENTRIES:
        raise ZipBomb("entries")
    names = [member.filename.lower() for member in members]
    # Two members of one name: one reader takes the first, the other the last.
    if len(set(names)) != len(names):
        raise ZipBomb("names")
    if sum(member.file_size for member in members) > MOST_UNPACKED:
        raise ZipBomb("size")
    for member, name in zip(members, names, strict=True):
        _check_name(member)
        if member.flag_bits & 0x1:
            raise EncryptedWorkbook
        if name.endswith("vbaproject.bin") or name.startswith("xl/macrosheets/"):
            raise MacrosRefused
        if name.startswith(_REFERENCE_FOLDERS):
            raise ExternalLinksRefused
        if name.endswith(_ARCHIVE_NAMES):
            raise ZipBomb("nested")
        if member.file_size > RATIO_FLOOR and member.file_size > MOST_RATIO * max(member.compress_size, 1):
            raise ZipBomb("ratio")


def _check_name(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    escapes = posixpath.normpath(name).startswith("..") or name.startswith("/") or "\0" in name
    link = stat.S_ISLNK(member.external_attr >> 16)
    if escapes or "\\" in name or re.match("[A-Za-z]:", name) or link:
        raise ZipBomb("names")


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Unpack a member piece by piece: its real size and checksum, and what it may not hold."""
    name = member.filename.lower()
    is_xml = name.endswith((".xml", ".rels", ".vml"))
    tail = b""
    with archive.open(member) as part:
        first = True
        while chunk := part.read(_CHUNK):
            if first and chunk.startswith(_ARCHIVES):
                raise ZipBomb("nested")
            if first and chunk.startswith(_OLE):
                raise ExternalLinksRefused
            first = False
            window = tail + chunk
            if is_xml and _DOCTYPE.search(window):
                # Document types bring entities, which expand without end; no office program writes one.
                raise WorkbookUnreadable
            if name == "[content_types].xml" and b"macroenabled" in window.lower():
                raise MacrosRefused
            if name.endswith(".rels"):
                _check_relations(window)
            tail = window[-2048:]


def _check_relations(text: bytes) -> None:
    """A hyperlink may lead outside; anything else that does would be fetched or run on opening."""
    for relation in _RELATION.findall(text):
        if b'external"' in relation.lower().replace(b"'", b'"') and b"/hyperlink" not in relation.lower():
            raise ExternalLinksRefused
