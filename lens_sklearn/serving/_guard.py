"""What stands before the application: who may ask, how much, and for how long."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json

#: Names by which this machine calls itself. Another name in a request without a token means that
#: a page of the web has had its name pointed at this machine.
LOOPBACK = ("localhost", "127.0.0.1", "::1")
#: So many bodies of the largest size are held at once, over all requests.
BODIES_AT_ONCE = 8
#: Seconds, and bodies of the largest size, that are read and thrown away after a refusal: a client
#: that is still sending would otherwise lose the answer.
LINGER_SECONDS, LINGER_BODIES = 2.0, 8
RETRY_AFTER = (b"retry-after", b"1")


def to_bytes(content):
    """Return JSON that every reader takes: ASCII, and no NaN."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Refusal(Exception):
    """A request that is answered before the application sees it."""

    def __init__(self, status, error, *headers):
        super().__init__(error)
        self.status, self.error, self.headers = status, error, headers


class _Gone(Exception):
    """The client has left."""


class Guard:
    """Asks for the token, bounds bodies and their time, and drops work that nobody waits for.

    Parameters
    ----------
    app : ASGI application
        What it guards.
    token : str or None
        What a request has to show; None asks for none.
    max_body : int
        Bytes of a body.
    body_seconds : float
        Time for a body to arrive.
    count : callable
        Is told the status of every answer.

    Notes
    -----
    The token is compared as a digest in constant time, and is kept in no other form.
    """

    def __init__(self, app, *, token, max_body, body_seconds, count):
        self.app, self.max_body, self.body_seconds, self.count = app, max_body, body_seconds, count
        self._digest = None if token is None else _digest(token.encode())
        self._held = 0

    async def __call__(self, scope, receive, send):
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message):
            if message["type"] == "http.response.start":
                self.count(message["status"])
            await send(message)

        body = bytearray()
        try:
            headers = dict(scope["headers"])
            scope["is_trusted"] = self._check(scope, headers)
            await self._read(headers, receive, body)
            await self._ask(scope, bytes(body), receive, counted)
        except _Gone:
            pass
        except Refusal as refusal:
            body_size, body = len(body), bytearray()  # freed while the rest is thrown away
            self._held -= body_size
            await self._refuse(refusal, receive, counted)
        finally:
            self._held -= len(body)

    def _check(self, scope, headers):
        """Refuse who may not ask and what cannot be read; return whether the token was shown."""
        is_trusted = self._digest is None or self._has_token(headers)
        if self._digest is None:
            host = headers.get(b"host", b"").decode("latin-1")
            name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
            if name.strip("[]").lower() not in LOOPBACK:
                raise Refusal(
                    403, "without a token this server answers to localhost and 127.0.0.1 only."
                )
        elif not is_trusted and scope["path"] != "/health":
            raise Refusal(
                401,
                "the token is missing or wrong: send the header 'Authorization: Bearer TOKEN', "
                "or put it into the address, http://:TOKEN@host:port/.",
                (b"www-authenticate", b'Bearer, Basic realm="lens-sklearn"'),
            )
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
            if kind != b"application/json":
                raise Refusal(415, "send the header 'Content-Type: application/json'.")
        return is_trusted

    def _has_token(self, headers):
        kind, _, shown = headers.get(b"authorization", b"").partition(b" ")
        shown = shown.strip()
        if kind.lower() == b"basic":  # what clients make of http://:TOKEN@host
            try:
                shown = base64.b64decode(shown, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif kind.lower() != b"bearer":
            return False
        return hmac.compare_digest(_digest(shown), self._digest)

    async def _read(self, headers, receive, body):
        """Read a body into `body`, no further than it may go."""
        promised = headers.get(b"content-length", b"0")
        if promised.isdigit() and int(promised[:20]) > self.max_body:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.body_seconds):
                is_more = True
                while is_more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    part = message.get("body", b"")
                    if len(body) + len(part) > self.max_body:
                        raise self._too_large()
                    if self._held + len(part) > BODIES_AT_ONCE * self.max_body:
                        raise Refusal(503, "too many large requests at once.", RETRY_AFTER)
                    body += part
                    self._held += len(part)
                    is_more = message.get("more_body", False)
        except TimeoutError:
            raise Refusal(
                408, f"the body took longer than {self.body_seconds:g} seconds to arrive."
            ) from None

    def _too_large(self):
        size = self.max_body / 2**20
        return Refusal(
            413, f"the body is larger than {size:g} MB: send fewer texts, or see --max-body-mb."
        )

    async def _ask(self, scope, body, receive, send):
        """Let the application answer, until the client leaves."""
        given = [{"type": "http.request", "body": body, "more_body": False}]
        left = asyncio.ensure_future(receive())  # all that can come is that it has left

        async def replay():
            return given.pop() if given else await asyncio.shield(left)

        answer = asyncio.ensure_future(self.app(scope, replay, send))
        try:
            await asyncio.wait((answer, left), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                raise _Gone
            answer.result()
        finally:
            left.cancel()
            answer.cancel()

    async def _refuse(self, refusal, receive, send):
        content = to_bytes({"error": refusal.error})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
            *refusal.headers,
        ]
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": True})
        left = LINGER_BODIES * self.max_body
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                is_more = True
                while is_more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    is_more = message.get("more_body", False)
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _digest(secret):
    return hashlib.sha256(secret).digest()
