"""A server that speaks OpenAI's protocol on this machine, for tests: it answers as it is told."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-a-key-that-nobody-may-see"


class FakeServer:
    """What was asked, and a function that answers.

    `answer(body)` returns a dict, or (status, body, headers); bytes are sent as they are.
    """

    def __init__(self, url):
        self.url, self.answer = url, None
        self.bodies, self.headers, self.paths = [], [], []
        self.n_now = self.n_most = 0
        self.pause = 0.0
        self.lock = threading.Lock()

    def handle(self, path, headers, body):
        with self.lock:
            self.bodies.append(body)
            self.paths.append(path)
            self.headers.append(headers)
            self.n_now += 1
            self.n_most = max(self.n_most, self.n_now)
        try:
            time.sleep(self.pause)
            answer = self.answer(body)
        finally:
            with self.lock:
                self.n_now -= 1
        return answer if isinstance(answer, tuple) else (200, answer, {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer, headers = self.server.fake.handle(self.path, headers, body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        try:
            self.send_response(status)
            headers = {"Content-Type": "application/json"} | headers
            for name, value in {**headers, "Content-Length": len(content)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client is gone
            self.close_connection = True

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # a client that is killed or gives up


@contextmanager
def fake_server():
    """Serve on a free port of 127.0.0.1 until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.fake = FakeServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(text, reason="stop", logprobs=None):
    """Return the answer of a chat; logprobs is a dict of tokens."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    choice |= {"finish_reason": reason, "logprobs": None}
    if logprobs is not None:
        top = [{"token": t, "logprob": p, "bytes": None} for t, p in logprobs.items()]
        choice["logprobs"] = {"content": [{"token": text, "logprob": -1, "top_logprobs": top}]}
    return {"object": "chat.completion", "choices": [choice]}


def error(status, message, **headers):
    """Return an error; the client's package waits as long as retry-after-ms says."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"error": {"message": message, "code": status}}, names
