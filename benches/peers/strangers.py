"""Connections that mean no good, for `vwc-sdk serve`, kind by kind: what its memory and open files are meanwhile, what the first of them is
told, and whether an honest client is served. Linux only.

    python3 strangers.py BINARY [FILES]

starts `BINARY serve` with FILES files to open (1024).
"""

import os
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

binary = sys.argv[1]
files = int(sys.argv[2]) if len(sys.argv) > 2 else 1024
log = tempfile.TemporaryFile("w+")
server = subprocess.Popen(
    [binary, "serve", "--bind", "127.0.0.1:0"],
    stdout=subprocess.PIPE,
    stderr=log,
    text=True,
    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
)
address = server.stdout.readline().strip().rsplit(" on ", 1)[1]
host, port = address.rsplit(":", 1)


def state():
    status = open(f"/proc/{server.pid}/status").read()
    rss, most, size = (
        int(re.search(rf"{name}:\s+(\d+)", status).group(1)) // 1024 for name in ("VmRSS", "VmHWM", "VmSize")
    )
    return f"{rss} MiB, at most {most}, {size} of addresses, {len(os.listdir(f'/proc/{server.pid}/fd'))} files"


def honest(when):
    begun = time.time()
    client = subprocess.run([binary, "devices", f"remote:{address}"], capture_output=True, text=True)
    last = (client.stderr.strip() or client.stdout.strip()).splitlines()[-1]
    print(f"  honest client {when}: exit code {client.returncode}, {time.time() - begun:.1f} s, {last[:120]}")


def connect(data=b""):
    stream = socket.create_connection((host, int(port)), timeout=3)
    try:
        for begin in range(0, len(data), 1 << 20):
            stream.sendall(data[begin : begin + (1 << 20)])
    except OSError:
        pass  # Turned away before it has said all.
    return stream


def upgraded(data=b"", path=b"session"):
    stream = connect(
        b"GET /" + path + b" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = b""
    while b"\r\n\r\n" not in answer and (piece := stream.recv(4096)):
        answer += piece
    try:
        for begin in range(0, len(data), 1 << 20):
            stream.sendall(data[begin : begin + (1 << 20)])
    except OSError:
        pass
    return stream


def frame(kind, data, declared=None):
    length = len(data) if declared is None else declared
    return bytes([0x80 | kind, 0xFF]) + struct.pack(">Q", length) + bytes(4) + data


def reset():
    stream = connect()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()
    return stream


KINDS = [
    ("silent", 1000, connect),
    ("silent", 1500, connect),
    ("half a header", 1000, lambda: connect(b"GET /session HTTP/1.1\r\nHost: x\r\nUpgr")),
    ("a header of 2 MB", 100, lambda: connect(b"GET /session HTTP/1.1\r\n" + (b"X: " + b"a" * 10000 + b"\r\n") * 200)),
    ("garbage", 1000, lambda: connect(os.urandom(20000))),
    ("reset", 3000, reset),
    ("a WebSocket without a message", 400, upgraded),
    ("a frame of 2^63 bytes", 300, lambda: upgraded(frame(2, b"", 1 << 63))),
    ("a frame of 1 GiB, 100 bytes sent", 100, lambda: upgraded(frame(2, bytes(100), 1 << 30))),
    ("a frame of 1 GiB, 200 MiB sent", 8, lambda: upgraded(frame(2, bytes(200 << 20), 1 << 30))),
    ("a message without meaning", 300, lambda: upgraded(frame(2, os.urandom(1000)))),
    ("the same to /data", 100, lambda: upgraded(frame(2, os.urandom(1000)), b"data")),
    ("pings", 100, lambda: upgraded(frame(9, bytes(100)) * 1000)),
]

honest("before")
print(f"  {state()}")
for name, count, one in KINDS:
    streams, failed, begun = [], 0, time.time()
    while len(streams) + failed < count and time.time() - begun < 20:
        try:
            streams.append(one())
        except OSError:
            failed += 1
    print(f"{name}: {len(streams)} of {count}, {failed} failed\n  {state()}")
    honest("meanwhile")
    try:
        streams[0].settimeout(0.5)
        print(f"  told: {streams[0].recv(400)}")
    except OSError as error:
        print(f"  told: nothing ({error})")
    for stream in streams:
        stream.close()
    time.sleep(1)
    print(f"  gone: {state()}")
honest("after")
server.terminate()
log.seek(0)
said = log.read()
print(f"exit code {server.wait()}, {said.count(chr(10))} lines of {len(said)} bytes, {said.count('panicked')} panics")
