"""What both Python programs share: the command line, the records of a run, and the JSON lines.

tests/clients/README.md is the specification.
"""

import argparse
import base64
import json
import sys
import threading
import time

BASE_TIMESTAMP_MS = 1_700_000_000_000
_output = threading.Lock()


def line(kind, **fields):
    """Prints one JSON line, whole, whichever thread calls."""
    text = json.dumps({"type": kind, **fields})
    with _output:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def error(where, code, message):
    line("error", where=where, code=str(code), message=str(message))


def base64_or_null(value):
    return None if value is None else base64.b64encode(value).decode()


def record(partition, offset, key, value, headers, timestamp, phase=0):
    line(
        "record",
        phase=phase,
        partition=partition,
        offset=offset,
        key=base64_or_null(key),
        value=base64_or_null(value),
        headers=[[name, base64_or_null(content)] for name, content in headers or []],
        timestamp=timestamp,
    )


def committed(how, offsets):
    line("committed", how=how, offsets={str(p): offsets[p] for p in sorted(offsets)})


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["produce", "consume", "walk", "pipe"])
    for name in (
        "bootstrap topic group client-id compression transactional-id isolation tls-ca tls-cert "
        "tls-key sasl-mechanism username password api-version into shape also retry dead key"
    ).split():
        parser.add_argument("--" + name)
    parser.add_argument("--member", default="member")
    parser.add_argument("--acks", default="all", choices=["0", "1", "all"])
    parser.add_argument("--commit", default="sync", choices=["sync", "async", "auto"])
    parser.add_argument("--group-protocol", default="classic")
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--hold-every", type=int, default=0)
    parser.add_argument("--transaction-records", type=int, default=100)
    parser.add_argument("--abort-every", type=int, default=0)
    parser.add_argument("--fan", type=int)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--until", type=int, default=sys.maxsize)
    parser.add_argument("--session-timeout-ms", type=int, default=10_000)
    parser.add_argument("--property", action="append", default=[])
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--no-headers", action="store_true")
    parser.add_argument("--now", action="store_true")
    return parser.parse_args()


def key(i):
    return None if i % 10 == 0 else b"key-%d" % i


def value(i, length):
    if i % 17 == 0:
        return None
    prefix = b"value-%d-" % i
    letters = bytes(ord("a") + (i + j) % 26 for j in range(length))
    return prefix[:length] + letters[len(prefix) :]


def headers(i, arguments):
    if arguments.no_headers:
        return []
    pairs = [("seq", b"%d" % i)]
    if i % 3 == 0:
        pairs += [("dup", b"first-%d" % i), ("dup", b"second-%d" % i)]
    if i % 5 == 0:
        pairs += [("bin", b"\x00\xff\xfe\x80"), ("nil", None)]
    return pairs


def timestamp(i, arguments):
    return int(time.time() * 1000) if arguments.now else BASE_TIMESTAMP_MS + i


def transactions(arguments):
    """Yields (first, end, abort) for each transaction of a run."""
    end = arguments.first + arguments.count
    for number, first in enumerate(range(arguments.first, end, arguments.transaction_records), 1):
        abort = arguments.abort_every > 0 and number % arguments.abort_every == 0
        yield first, min(first + arguments.transaction_records, end), abort


class Tally:
    """Counts what the broker acknowledged."""

    def __init__(self):
        self.acked = self.failed = self.bytes = 0

    def ack(self, i, partition, offset, size):
        self.acked += 1
        self.bytes += size
        line("ack", i=i, partition=partition, offset=offset)

    def fail(self, where, code, message):
        self.failed += 1
        error(where, code, message)

    def done(self):
        line("done", acked=self.acked, failed=self.failed, bytes=self.bytes)


class Leave:
    """Becomes true when the word `leave`, or the end of the input, arrives on standard input."""

    def __init__(self):
        self._asked = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for text in sys.stdin:
            if text.strip() == "leave":
                break
        self._asked.set()

    def __bool__(self):
        return self._asked.is_set()
