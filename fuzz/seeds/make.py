#!/usr/bin/env python3
"""Writes the seeds: the vectors of RFC 6455, and some at the edges of its rules."""
from pathlib import Path

HERE = Path(__file__).parent


def put(target, name, data):
    path = HERE / target / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def frame(first, payload, key=None):
    length = len(payload)
    mask = 0x80 if key else 0
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 65536:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    if key:
        return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return head + payload


KEY = bytes.fromhex("37fa213d")
STREAMS = {  # RFC 6455 §5.7, and more
    "hello": [(0x81, b"Hello")],
    "fragments": [(0x01, b"Hel"), (0x80, b"lo")],
    "ping": [(0x89, b"Hello"), (0x8A, b"Hello"), (0x8A, b"")],
    "binary-256": [(0x82, bytes(range(256)))],
    "ping-inside": [(0x01, "aé€".encode()), (0x89, b""), (0x00, "🌍".encode()[:2]), (0x80, "🌍".encode()[2:])],
    "close": [(0x82, b""), (0x88, b"\x03\xe8bye"), (0x81, b"never seen")],
    "close-empty": [(0x88, b"")],
    "close-bad-code": [(0x88, b"\x03\xed")],
    "bad-utf8": [(0x01, b"ok"), (0x80, b"\xed\xa0\x80")],
    "cut-utf8": [(0x81, b"\xf0\x9f\x8c")],
    "unexpected": [(0x80, b"?")],
    "unfinished": [(0x02, b"a"), (0x82, b"b")],
    "reserved": [(0xC1, b"deflated?")],
    "many": [(0x81, b"a"), (0x82, b"b"), (0x01, b"c"), (0x00, b""), (0x80, b"d"), (0x89, b"e"), (0x81, b"f" * 126)],
}
for name, frames in STREAMS.items():
    for role, key in (("server", KEY), ("client", None)):
        wire = b"".join(frame(first, payload, key) for first, payload in frames)
        # role and mode, external reads, size of the buffer, two lengths of reads
        for mode, how in enumerate(("frames", "chunks", "points")):
            flags = (key is None) | mode << 1 | 8
            put("frames", f"{name}-{role}-{how}", bytes([flags, mode & 1, 0, 2, 1, 5]) + wire)

for name, rules, head in [
    ("short", 0, "8105"), ("masked", 1, "818537fa213d"), ("16-bit", 0, "827e0100"),
    ("64-bit", 0, "827f0000000000010000"), ("64-bit-masked", 1, "82ff000000000001000037fa213d"),
    ("long-form", 2, "827f000000000000ffff"), ("long-form-refused", 0, "827e007d"), ("length-bit", 0, "827f80"),
    ("rsv1", 4, "c105"), ("rsv1-refused", 0, "c105"), ("ping", 0, "8900"), ("ping-too-long", 0, "897e"),
    ("ping-fragment", 0, "0900"), ("reserved", 0, "8300"),
]:
    put("header", name, bytes([rules]) + bytes.fromhex(head))

GET = (
    b"GET /chat?token=valid HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n"
    b"Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
for name, flags, request in [
    ("rfc", 8, GET), ("same-host", 4, GET.replace(b"http://example.com", b"http://server.example.com:80")),
    ("forbidden", 0, GET), ("frame-behind", 8, GET + frame(0x81, b"Hello", KEY)), ("cut", 8, GET[:150]),
    ("limited", 2, GET), ("page", 32, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ("hand-over", 48, GET + b"more"),
    ("post", 8, GET.replace(b"GET", b"POST")), ("version-8", 8, GET.replace(b"13", b"8")),
    ("key-short", 8, GET.replace(b"dGhl", b"")), ("key-lenient", 9, GET.replace(b"dGhl", b"")),
    ("bare-lf", 8, GET.replace(b"\r\n", b"\n")), ("body", 8, GET.replace(b"Origin: ", b"Content-Length: 5\r\nX: ")),
    ("twice", 8, GET.replace(b"Upgrade: web", b"Host: b\r\nUpgrade: web")),
    ("absolute", 8, GET.replace(b"/chat", b"http://proxy/chat")),
    ("lists", 8, GET.replace(b": Upgrade", b": keep-alive, ,upgrade").replace(b"chat, ", b"x,\r\nSec-WebSocket-Protocol:")),
]:
    put("request", name, bytes([flags, 2, 1, 70]) + request)

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
for name, flags, answer in [
    ("rfc", 0, ANSWER), ("frame-behind", 0, ANSWER + frame(0x81, b"Hello")), ("limited", 1, ANSWER),
    ("cut", 0, ANSWER[:100]), ("accept-wrong", 0, ANSWER.replace(b"s3p", b"S3p")),
    ("protocol-wrong", 0, ANSWER.replace(b"chat", b"other")),
    ("extension", 0, ANSWER.replace(b"Protocol: chat", b"Extensions: permessage-deflate")),
    ("refused", 0, b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"),
    ("redirect", 0, b"HTTP/1.1 302 Found\r\nLocation: ws://other/\r\n\r\n"), ("empty-line", 0, b"\r\n\r\n" + ANSWER),
    ("old", 0, b"HTTP/1.0 200 OK\r\n\r\n"),
    ("url", 0, b"wss://[::1]:8443/path?query"), ("url-port", 0, b"ws://example.com:0/"),
]:
    put("response", name, bytes([flags, 2, 1, 90]) + answer)

# flags, sizes of both sides; then see operate() in connection.rs, 0x80 is the server's
for name, script in {
    "send": "0000 00 00 10 40 20 08ff 88ff 8d 0d 80 05 c0 30 88ff 08ff 0d",
    "fragments": "0000 00 61 07 8d 61 03 08ff 88ff 8d 41 05 08ff 88ff 8d",
    "begin": "0000 00 42 40 43 10 05 08ff 43 30 08ff 88ff 8d",
    "stream": "0108 00 54 ff 08ff 88ff 8d 54 80 08ff 88ff 8d d4 ff 88ff 08ff 0d",
    "ping": "0400 00 15 25 35 85 08ff 88ff 8d 0d 88ff 08ff 0d 8d",
    "close": "0000 00 07 00 87 01 08ff 88ff 8d 0d",
    "reset": "0000 00 40 09 7c 0d 08ff 88ff 8d",
    "vanish": "0000 00 40 09 6c 08ff 88ff 8d",
    "late": "00fcf6fffe1f8d0dff148d0dff648d",
    "time": "0000 00 ff 1f 8d 0d ff 14 8d 0d ff 64 8d",
}.items():
    put("connection", name, bytes.fromhex(script.replace(" ", "")))

# RFC 7692 §7.2.3: the second message refers to the first.
put("inflate", "hello", bytes.fromhex("0100f248cdc9c90700fef200110000"))
put("deflate", "hello", bytes.fromhex("0101030400") + b"Hello, Hello, Hello\xfeHello")
