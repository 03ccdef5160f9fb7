"""Errors of HTTP itself, as against errors of the field's rules."""

from ..errors import BadRequest, Conflict, NotFound, RuleError, TooLarge, UnsupportedMediaType


class BodyEmpty(BadRequest):
    """The body is empty"""

    code = "body.empty"
    title = "请求正文为空"


class BodyNotJson(BadRequest):
    """The body is no JSON"""

    code = "body.not_json"
    title = "请求正文不是合法的 JSON"


class BodyNotUtf8(BadRequest):
    """The body is not UTF-8"""

    code = "body.not_utf8"
    title = "请求正文不是 UTF-8 编码"


class BodyNotObject(BadRequest):
    """The body is not a JSON object"""

    code = "body.not_object"
    title = "请求正文应为 JSON 对象"


class BodyDuplicateKey(BadRequest):
    """A key stands twice in one object"""

    code = "body.duplicate_key"
    title = "JSON 中有重复的键"


class BodyTooDeep(BadRequest):
    """The body is nested too deeply"""

    code = "body.too_deep"
    title = "JSON 嵌套过深"


class BodyLengthAmbiguous(BadRequest):
    """Content-Length and Transfer-Encoding contradict each other"""

    code = "body.length_ambiguous"
    title = "正文长度含混"


class BodyIncomplete(BadRequest):
    """The body ended before its announced length, or took too long"""

    code = "body.incomplete"
    title = "请求正文不完整"


class BodyTooLarge(TooLarge):
    """The body is larger than this route takes"""

    code = "body.too_large"
    title = "请求正文过大"


class WrongMediaType(UnsupportedMediaType):
    """The body is not of a type this route takes"""

    code = "body.wrong_type"
    title = "请求正文类型不对"


class FileNameInvalid(BadRequest):
    """The name of the file in Content-Disposition is too long or holds an invisible character"""

    code = "body.file_name"
    title = "文件名有误"


class RouteNotFound(NotFound):
    """There is nothing at this address"""

    code = "route.not_found"
    title = "没有这个地址"


class MethodNotAllowed(RuleError):
    """This address does not take this method"""

    status = 405
    code = "route.method_not_allowed"
    title = "此地址不支持该方法"


class QueryInvalid(BadRequest):
    """The query parameters are wrong"""

    code = "query.invalid"
    title = "查询参数有误"

    def __init__(self, problems: list) -> None:  # type: ignore[type-arg]
        names = "、".join(problem.pointer.lstrip("/") for problem in problems)
        super().__init__(
            f"查询参数有误：{names}，请按 errors 更正。", f"Query parameters to correct, see errors: {names}."
        )
        self._problems = problems

    @property
    def problems(self) -> list:  # type: ignore[type-arg]
        """All the problems, in the order they were found."""
        return list(self._problems)


class KeyMalformed(BadRequest):
    """The Idempotency-Key is not 1 to 255 visible ASCII characters"""

    code = "idempotency.key_malformed"
    title = "Idempotency-Key 格式不对"


class KeyReused(RuleError):
    """The Idempotency-Key was used before with another request"""

    code = "idempotency.key_reused"
    title = "Idempotency-Key 已用于另一请求"


class KeyInFlight(Conflict):
    """A request with this Idempotency-Key is being worked on"""

    code = "idempotency.in_flight"
    title = "相同 Idempotency-Key 的请求正在处理"


class PreconditionRequired(RuleError):
    """If-Match is needed to change this"""

    status = 428
    code = "precondition.required"
    title = "缺少 If-Match"


class InternalError(RuleError):
    """Something went wrong on our side"""

    status = 500
    code = "internal.error"
    title = "系统内部错误"
