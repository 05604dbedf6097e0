"""A client of ``lens-sklearn serve``: requests a second and latency, faults and a kill under load.

``python -m benchmarks.load --model FOLDER`` starts the server on this machine, asks it over
connections of its own, and checks every answer against `predict`. Only 127.0.0.1 is asked.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np

HOST = "127.0.0.1"
TOLERANCE = 1e-4  # an embedding depends on its batch by rounding
LIMIT = 120.0  # seconds of one measurement
MALFORMED = (
    b'{"rows": [',
    b'{"rows": [{"responses": [3]}]}',
    b'{"rows": [{"prompt": "a", "responses": [""], "x": 1}]}',
    b"\xff" * 200,
    b"[" * 10_000,
)
HUGE = 17 * 2**20  # bytes, more than --max-body-mb
WORDS = "the answer is not so long because it says what there is to say and then ends".split()


class Connection:
    """An HTTP connection that is kept open."""

    def __init__(self, port):
        self.port, self.streams = port, None

    async def ask(self, path, body):
        """Return status and content of an answer; "refused" or "lost" if there is none."""
        try:
            if self.streams is None:
                self.streams = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return "refused", None
        try:
            reader, writer = self.streams
            head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            try:
                await writer.drain()
            except ConnectionError:
                pass  # the server may have refused it before it was sent
            head = await reader.readuntil(b"\r\n\r\n")
            n = int(re.search(rb"content-length: (\d+)", head.lower())[1])
            content = json.loads(await reader.readexactly(n))
            if b"connection: close" in head.lower():
                self.close()
            return int(head.split()[1]), content
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return "lost", None

    def close(self):
        """Close it; the next request opens another."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def make_requests(n, seed=0):
    """Return n requests of one to four short texts, as rows."""
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(4, 30))) for _ in range(4 * n)]
    return [
        {"prompt": f"Question {i}?", "responses": texts[4 * i : 4 * i + draw.randint(1, 4)]}
        for i in range(n)
    ]


async def measure(port, requests, expected, n_connections, n_requests, bad=0.0):
    """Ask over some connections at once.

    Parameters
    ----------
    port : int
        Of the server.
    requests : list of dict
        Rows; taken in turns.
    expected : list of list of float
        Their rewards.
    n_connections, n_requests : int
        How many at once, and altogether.
    bad : float, default=0.0
        Share of requests that are malformed instead; one in twenty of these is huge.

    Returns
    -------
    dict
        Requests and texts a second, latency's percentiles in ms, counts by outcome, and the
        largest difference from the expected rewards.
    """
    draw, left = random.Random(n_connections), iter(range(n_requests))
    seconds, statuses, worst, n_texts = [], {}, 0.0, 0
    end = time.monotonic() + LIMIT

    async def client():
        nonlocal worst, n_texts
        connection = Connection(port)
        for i in left:
            if time.monotonic() > end:
                break
            is_bad = draw.random() < bad
            if is_bad:
                body = b" " * HUGE if draw.random() < 0.05 else draw.choice(MALFORMED)
            else:
                body = json.dumps({"rows": [requests[i % len(requests)]]}).encode()
            begin = time.perf_counter()
            status, content = await connection.ask("/score", body)
            took = time.perf_counter() - begin
            kind = f"{'bad' if is_bad else 'good'} {status}"
            statuses[kind] = statuses.get(kind, 0) + 1
            if status == 200:
                seconds.append(took)
                right = expected[i % len(requests)]
                n_texts += len(right)
                worst = max(worst, float(np.abs(np.subtract(content["rewards"][0], right)).max()))
        connection.close()

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(n_connections)))
    took = time.perf_counter() - begin
    p50, p99 = np.percentile(np.array(seconds) * 1000, (50, 99)) if seconds else (np.nan, np.nan)
    return {
        "connections": n_connections,
        "requests_a_second": len(seconds) / took,
        "texts_a_second": n_texts / took,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "outcomes": dict(sorted(statuses.items())),
        "largest_difference": worst,
    }


class Process:
    """The server as a process; it is gone at the end of a ``with`` block."""

    def __init__(self, model, *options):
        command = [sys.executable, "-m", "lens_sklearn", "serve", model, "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        begin, said = time.perf_counter(), ""
        while not (found := re.search(rf"http://{HOST}:(\d+)", said)):
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError(f"the server did not start: {said}")
            said += line
        self.port, self.start_seconds = int(found[1]), time.perf_counter() - begin

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def stop(self, number):
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def memory(self):
        """Return what it holds in memory, in MB; None where /proc does not tell."""
        try:
            with open(f"/proc/{self.process.pid}/status") as file:
                return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024
        except OSError:
            return None


async def end_under_load(server, requests, expected, number, after):
    """Send a signal after some seconds of load; return outcomes and the exit code."""
    work = asyncio.create_task(measure(server.port, requests, expected, 16, 400))
    await asyncio.sleep(after)
    code = await asyncio.to_thread(server.stop, number)
    found = await work
    return {"signal": number.name, "exit_code": code} | {
        key: found[key] for key in ("outcomes", "largest_difference")
    }


def run(model, n_requests, connections, options):
    """Yield one result after another, as dicts."""
    from lens_sklearn import export

    requests = make_requests(200)
    rewards = export.load(model).predict(requests)
    expected = [values[: len(row["responses"])] for row, values in zip(requests, rewards,
                                                                     strict=True)]  # fmt: skip
    yield {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
           "load": os.getloadavg()[0], "versions": export.versions()}  # fmt: skip
    with Process(model, *options) as server:
        yield {"start_seconds": server.start_seconds, "memory_mb": server.memory()}
        for n in connections:
            n_here = max(n_requests, 2 * n)
            yield asyncio.run(measure(server.port, requests, expected, n, n_here))
        yield asyncio.run(measure(server.port, requests, expected, 16, n_requests, bad=0.5))
        yield {"memory_mb": server.memory()}
        yield asyncio.run(end_under_load(server, requests, expected, signal.SIGTERM, 3.0))
    with Process(model, *options) as server:
        yield asyncio.run(end_under_load(server, requests, expected, signal.SIGKILL, 3.0))


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", required=True, help="folder of a saved reward that reads text")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 128, 1000])
    parser.add_argument("options", nargs="*", help="after --, options of the server")
    return parser


def main(argv=None):
    """Measure, print a result a line, and fail if an answer was wrong."""
    arguments = parser().parse_args(argv)
    wrong = 0
    for result in run(
        arguments.model, arguments.requests, arguments.connections, arguments.options
    ):
        print(json.dumps(result), flush=True)
        wrong += result.get("largest_difference", 0) > TOLERANCE
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
