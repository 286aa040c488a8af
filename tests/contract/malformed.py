"""Requests that are not valid HTTP, or that servers and proxies read in different ways."""

from __future__ import annotations

SECRET = b"a-clients-secret"
LINE = b"POST /api/v1/produce HTTP/1.1\r\n"
POST = LINE + b"Host: a\r\n"
TWO = b"Content-Length: 2\r\n\r\n{}"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
# Sent after each request: it must not be answered when the end of the one before is ambiguous.
NEXT = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

HEADS = {
    "no colon": POST + b"no colon\r\n" + TWO,
    "no name": POST + b": a\r\n" + TWO,
    "space before the colon": POST + b"X-A : b\r\n" + TWO,
    "tab before the colon": POST + b"X-A\t: b\r\n" + TWO,
    "space in a name": POST + b"X A: b\r\n" + TWO,
    "space before the length's colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "NUL in a name": POST + b"X-\0: b\r\n" + TWO,
    "UTF-8 in a name": POST + "Ключ: b\r\n".encode() + TWO,
    "slash in a name": POST + b"X/A: b\r\n" + TWO,
    "folded": POST + b"X-A: b\r\n c\r\n" + TWO,
    "folded by a tab": POST + b"X-A: b\r\n\tc\r\n" + TWO,
    "folded first": LINE + b" X-A: b\r\nHost: a\r\n" + TWO,
    "NUL in a value": POST + b"X-A: b\0c\r\n" + TWO,
    "escape in a value": POST + b"X-A: b\x1bc\r\n" + TWO,
    "DEL in a value": POST + b"X-A: b\x7fc\r\n" + TWO,
    "CR in a value": POST + b"X-A: b\rc\r\n" + TWO,
    "LF for a line": LINE + b"Host: a\n" + TWO,
    "LF for all lines": LINE.replace(b"\r", b"") + b"Host: a\nContent-Length: 2\n\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length twice": POST + b"Content-Length: 2\r\n" + TWO,
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n{}",
    "length in other digits": POST + "Content-Length: \u0662\r\n\r\n{}".encode(),
    "length with a space": POST + b"Content-Length: 1 2\r\n\r\n{}",
    "length with a fraction": POST + b"Content-Length: 2.0\r\n\r\n{}",
    "length beyond all": POST + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "empty length": POST + b"Content-Length: \r\n\r\n",
    "length before chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "length after chunks": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n" + CHUNKS,
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "chunked, gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS,
    "chunked, chunked": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunked after identity": POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "almost chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "quoted chunked": POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS,
    "chunked with a parameter": POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n" + CHUNKS,
    "chunked with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "empty coding": POST + b"Transfer-Encoding: \r\n\r\n" + CHUNKS,
    "chunks under HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "old WebSocket": POST + b"Sec-WebSocket-Key1: a\r\n" + TWO,
    "no method": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "small letters": b"http/1.1 GET /\r\nHost: a\r\n\r\n",
    "a small version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "a method with a NUL": b"GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "escape in the target": b"GET /a\x1bb HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target without a host": b"GET http:///healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target with a port beyond": b"GET http://a:99999/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is none": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    **{
        f"Host: {host!r}": LINE + b"Host: " + host + b"\r\n" + TWO
        for host in (
            b"a b", b"a\tb", b"a/b", b"/", b"user@a", b"user:password@a", b"a:port", b"a:-1", b"a:65536", b"a:80:80",
            b"a:8 0", b"[::1", b"::1", b"[::1]x", b"[:::::]", b"[a]", b"[]", b"a?b", b"a#b", b"a\\b", b"<a>", b'"a"',
            b"a,b", b"a, b", b"%zz", b"http://a", "мой".encode(), b"a" * 300,
        )
    },
    "no Host": LINE + TWO,
    "two Hosts": POST + b"Host: b\r\n" + TWO,
    "a Host twice": POST + b"hOST: a\r\n" + TWO,
    "two Hosts under HTTP/1.0": POST.replace(b"1.1", b"1.0") + b"Host: a\r\n" + TWO,
}  # fmt: skip
BODIES = {
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "no number": b"x\r\n{}\r\n0\r\n\r\n",
    "negative": b"-2\r\n{}\r\n0\r\n\r\n",
    "signed": b"+2\r\n{}\r\n0\r\n\r\n",
    "0x": b"0x2\r\n{}\r\n0\r\n\r\n",
    "underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "space before": b" 2\r\n{}\r\n0\r\n\r\n",
    "space after": b"2 \r\n{}\r\n0\r\n\r\n",
    "beyond all": b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "LF after the size": b"2\n{}\r\n0\r\n\r\n",
    "LF after the data": b"2\r\n{}\n0\r\n\r\n",
    "CR after the size": b"2\r{}\r\n0\r\n\r\n",
    "data too long": b"2\r\n{}  \r\n0\r\n\r\n",
    "data too short": b"3\r\n{}\r\n0\r\n\r\n",
    "NUL in an extension": b"2;a\0=b\r\n{}\r\n0\r\n\r\n",
    "LF in an extension": b"2;a\n=b\r\n{}\r\n0\r\n\r\n",
    "a trailer without a colon": b"2\r\n{}\r\n0\r\nno colon\r\n\r\n",
    "NUL in a trailer's name": b"2\r\n{}\r\n0\r\nX-\0: a\r\n\r\n",
    "later": b"1\r\n{\r\n" + b"zz\r\n}\r\n0\r\n\r\n",
}
