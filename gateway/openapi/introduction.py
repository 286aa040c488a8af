"""The part of a document's introduction that holds for every service behind the gateway."""

from __future__ import annotations

from http import HTTPStatus

# What requests may carry beside their body; every operation reads these headers.
REQUEST_HEADERS = {
    "Grpc-Timeout": "how long the request may take, as gRPC writes it: `5S` is five seconds, `200m` are 200 ms",
    "X-Strict": (
        "`true` rejects JSON names that the method does not have with 400; otherwise they are ignored and named in the "
        "response header `X-Unknown-Fields`"
    ),
    "X-Request-Id": "an identifier for logs, at most 128 characters; every response carries it, or a generated one",
    "X-Ugc-Priority": "`low` for events that can wait, as of a backfill; a busy service refuses them first",
    "Traceparent": "the trace that the request belongs to (W3C Trace Context)",
    "Content-Encoding": "`gzip` for a compressed body",
}
# Statuses that belong to no operation.
OTHER_STATUSES = {
    HTTPStatus.NOT_FOUND: "no operation has this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "the path has operations with other methods, which the header `Allow` lists",
    HTTPStatus.REQUEST_URI_TOO_LONG: "path and query are longer than the limit, which `message` names",
    HTTPStatus.EXPECTATION_FAILED: "the header `Expect` has another value than `100-continue`",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "the request is not HTTP/1.1 or HTTP/1.0",
}
ERRORS = (
    "Every error is a `google.rpc.Status` as JSON: `code` is the gRPC code, `message` is a text for developers, "
    "`details` hold messages such as `google.rpc.BadRequest` and `google.rpc.RetryInfo`. Responses with 429 and 503 "
    "have the header `Retry-After`. Each operation lists its own statuses. Any request may also get one of these:"
)


def introduction(declared: str) -> str:
    """Return a description: what the service declares, then requests and errors as the gateway handles them."""
    return "\n\n".join(
        [
            *([declared.strip()] if declared.strip() else []),
            "## Request headers",
            table("header", "meaning", {f"`{name}`": meaning for name, meaning in REQUEST_HEADERS.items()}),
            "## Errors",
            ERRORS,
            table("status", "meaning", {str(int(status)): meaning for status, meaning in OTHER_STATUSES.items()}),
        ]
    )


def table(first: str, second: str, rows: dict[str, str]) -> str:
    """Return a table of two columns in Markdown."""
    return "\n".join([f"| {first} | {second} |", "|---|---|", *(f"| {one} | {other} |" for one, other in rows.items())])
