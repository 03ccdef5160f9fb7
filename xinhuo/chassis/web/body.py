"""Reading a request's body: limits first, then strict JSON."""

import codecs
import json
import math
from typing import Any

import marshmallow as ma
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import parse_options_header
from werkzeug.wrappers import Request

from .errors import (
    BodyDuplicateKey,
    BodyEmpty,
    BodyIncomplete,
    BodyLengthAmbiguous,
    BodyNotJson,
    BodyNotObject,
    BodyNotUtf8,
    BodyTooDeep,
    BodyTooLarge,
    FileNameInvalid,
    WrongMediaType,
)
from .names import repeatable
from .schema import Text

MAX_DEPTH = 20
_FILE_NAME = Text(max=200)


def read(request: Request, limit: int) -> bytes:
    """Return the body's bytes; one that announces or turns out to hold more than ``limit`` is refused.

    Raises BodyTooLarge, BodyLengthAmbiguous, BodyIncomplete, or WrongMediaType for a compressed body.
    """
    given = request.environ
    if given.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise WrongMediaType(
            "请求正文不能压缩，请去掉 Content-Encoding 后重发。",
            "The body may not be compressed; send it as it is, without Content-Encoding.",
        )
    chunked = "chunked" in given.get("HTTP_TRANSFER_ENCODING", "").lower()
    if chunked and given.get("CONTENT_LENGTH"):
        raise BodyLengthAmbiguous(
            "请求同时带有 Content-Length 与 Transfer-Encoding，请只用其一。",
            "The request has both Content-Length and Transfer-Encoding; send one of them.",
        )
    length = given.get("CONTENT_LENGTH", "")
    announced = int(length) if length.isdecimal() and len(length) < 19 and not chunked else None
    if announced is not None and announced > limit:
        raise _too_large(limit)
    try:
        # Servers end the input where the body ends; without a length there is none.
        data: bytes = given["wsgi.input"].read(limit + 1 if chunked else announced or 0)
    except (ClientDisconnected, OSError, ValueError, OverflowError):  # a chunk may announce any number
        raise BodyIncomplete(
            "请求正文没有按时完整到达，请重新发送。",
            "The body did not arrive whole and in time; send it again.",
        ) from None
    if len(data) > limit:
        raise _too_large(limit)
    if announced is not None and len(data) < announced:
        raise BodyIncomplete("请求正文不完整，请重新发送。", "The body is shorter than announced; send it again.")
    return data


def require_type(request: Request, wanted: str) -> None:
    """Raise WrongMediaType unless the body is declared to be of the wanted media type."""
    if request.environ.get("CONTENT_TYPE") == wanted:
        return
    given = request.mimetype
    if given != wanted and not (wanted == "application/json" and given.endswith("+json")):
        raise WrongMediaType(
            f"请求正文应为 {wanted}，请设置 Content-Type。", f"The body must be {wanted}; set Content-Type."
        )


def file_name(request: Request) -> str | None:
    """Return what the file in the body is called by Content-Disposition (RFC 6266), None where that does not say.

    It is a header, as an address is written down by every proxy on the way. Raises FileNameInvalid.
    """
    given = request.environ.get("HTTP_CONTENT_DISPOSITION", "").encode("latin-1", "replace")
    _, options = parse_options_header(given.decode("utf-8", "replace"))
    if not (name := options.get("filename")):
        return None
    try:
        text: str = _FILE_NAME.deserialize(name)
    except ma.ValidationError as error:
        _, zh, en = str(error.messages[0]).split("|")
        raise FileNameInvalid(f"文件名有误：{zh}。", f"The name of the file is wrong: {en}") from None
    return text


def parse_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object strictly.

    A byte order mark is accepted. Raises the Body… errors: empty, not UTF-8, broken (with line and column),
    NaN or Infinity, a key twice, half a surrogate pair, nested deeper than 20, or not an object.
    """
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise BodyEmpty("请求正文为空，请提交 JSON 对象。", "The body is empty; send a JSON object.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BodyNotUtf8(
            f"请求正文不是 UTF-8 编码（第 {error.start + 1} 字节起），请转换编码后重发（GBK 请先转为 UTF-8）。",
            f"The body is not UTF-8 from byte {error.start + 1} on; convert it (from GBK?) and send it again.",
        ) from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BodyNotJson(
            f"JSON 第 {error.lineno} 行第 {error.colno} 列有误，请检查。",
            f"The JSON is broken at line {error.lineno}, column {error.colno}.",
            extra={"line": error.lineno, "column": error.colno},
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # an integer of more than 4,300 digits, a fraction beyond 1.8e308
        raise BodyNotJson("JSON 中的数字过大。", "A number in the JSON is too large.") from None
    if not isinstance(value, dict):
        raise BodyNotObject("请求正文应为 JSON 对象（{…}）。", "The body must be a JSON object ({…}).")
    _check_depth(value)
    _check_surrogates(text, value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        shown = repeatable(twice[:50])
        raise BodyDuplicateKey(f"键“{shown}”重复出现，请只保留一个。", f"The key '{shown}' stands twice; keep one.")
    return found


def _refuse_constant(word: str) -> None:
    raise BodyNotJson(f"JSON 不允许 {word}。", f"JSON does not allow {word}.")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999
        raise ValueError
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_float=_finite)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _check_surrogates(text: str, value: Any) -> None:
    """Refuse half a surrogate pair: no character, and neither database nor answer can hold it."""
    if "\\ud" not in text.lower():
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BodyNotJson(
            "JSON 中有不成对的 \\ud8xx 转义，不是有效字符，请更正。",
            "The JSON holds an unpaired surrogate escape, which is no character; correct it.",
        ) from None


def _too_deep() -> BodyTooDeep:
    return BodyTooDeep(f"JSON 嵌套超过 {MAX_DEPTH} 层。", f"The JSON is nested deeper than {MAX_DEPTH} levels.")


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"请求正文超过上限 {limit} 字节，请分批提交。",
        f"The body is larger than {limit} bytes; send it in parts.",
        extra={"limit": limit},
    )
