"""uvicorn with a time limit for slow clients, and a stop that answers what is in flight."""

import signal
import socket
import threading

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds for a request line and its headers to arrive, for a connection that says nothing, and
#: for what is in flight at a stop.
HEAD_SECONDS, IDLE_SECONDS, DRAIN_SECONDS = 10.0, 30, 30


class PatientProtocol(H11Protocol):
    """Closes a connection whose headers do not arrive in time; uvicorn itself waits forever."""

    head_timer = None

    def connection_made(self, transport):
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data):
        """Wait for the rest of the headers, or no longer."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            if self.head_timer is None and not self.transport.is_closing():
                self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc):
        """Stop to wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def shutdown(self):
        """Close it after the answer that is due, and say so in the answer."""
        super().shutdown()
        if self.cycle is not None and not self.cycle.response_started:
            # Else a client that keeps connections would send its next request into this one.
            self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def _wait_for_head(self):
        self.head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self):
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


class Server(uvicorn.Server):
    """Tells when the port is open.

    Parameters
    ----------
    config : uvicorn.Config
        Of :func:`make_server`.
    on_ready : callable
        Called without arguments.
    """

    def __init__(self, config, on_ready):
        super().__init__(config)
        self.on_ready = on_ready

    async def startup(self, sockets=None):
        """Open the port."""
        await super().startup(sockets)
        self.on_ready()


def make_server(app, *, ssl_certfile=None, ssl_keyfile=None, on_ready=lambda: None):
    """Return a server of an application.

    Parameters
    ----------
    app : ASGI application
        Of `make_app`.
    ssl_certfile, ssl_keyfile : str, default=None
        Files for TLS.
    on_ready : callable, default=lambda: None
        Called when requests are accepted.

    Returns
    -------
    Server
        ``run(sockets=[...])`` runs it, and ``should_exit = True`` ends it.
    """
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,  # a server's log is the process's; requests are counted, not written
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )
    return Server(config, on_ready)


def run_until_stopped(server, listener):
    """Serve until SIGTERM or SIGINT; then answer what is in flight, and return.

    Parameters
    ----------
    server : Server
        Of :func:`make_server`.
    listener : socket.socket
        Of :func:`bind`.
    """
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {}
    if threading.current_thread() is threading.main_thread():
        # uvicorn raises the signal again when it has ended, for whoever handled it before.
        before = {s: signal.signal(s, lambda *_: None) for s in signals}
    try:
        server.run(sockets=[listener])
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def bind(host, port):
    """Take an address, so that it is known to be free before a model is loaded.

    Parameters
    ----------
    host : str
        A name or an address.
    port : int
        0 is any free one.

    Returns
    -------
    socket.socket
        Bound. Clients are refused until a server listens.

    Raises
    ------
    OSError
        If the host is not known or not of this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise OSError(f"--host {host}: {error.strerror}.") from None
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_REUSEPORT"):  # POSIX; elsewhere it would share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise OSError(
            f"--host {host} --port {port}: {error.strerror}. --port 0 takes any free one."
        ) from None
    return listener
