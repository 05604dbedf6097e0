"""``lens-sklearn serve``: answer requests for rewards over HTTP."""

import os
from ipaddress import ip_address
from pathlib import Path

from ._arguments import (
    above_zero,
    add_command,
    add_saved_model,
    check_device,
    from_zero,
    load_pipeline,
    number,
    port,
    positive,
)
from ._output import say

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn serve reward
  curl localhost:8000/health
  curl localhost:8000/score -H 'Content-Type: application/json' \\
    -d '{"rows": [{"prompt": "What is 2 + 2?", "responses": ["5.", "4."]}]}'
  LENS_SKLEARN_TOKEN=... lens-sklearn serve reward --host 0.0.0.0 \\
    --ssl-certfile cert.pem --ssl-keyfile key.pem

POST /score takes rows of a prompt and its responses, and answers with their rewards.
POST /get_reward is what OpenRLHF asks for: --reward.remote_url http://localhost:8000/get_reward.
Requests that wait at the same time are predicted together. The model is loaded and asked for a
text before the port opens. SIGTERM and Ctrl-C answer what is in flight, then end with 0.
Needs the extra serve: pip install 'lens-sklearn[serve]'."""

SHORTEST_TOKEN = 16


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    parser = add_command(commands, "serve", run, "answer requests for rewards over HTTP", EXAMPLES)
    add_saved_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="any other than this machine's own "
                        "needs a token")  # fmt: skip
    parser.add_argument("--port", type=port, default=8000, help="0 is any free one")
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        default="LENS_SKLEARN_TOKEN",
        help="environment variable of the token; where it is set, requests have to show it",
    )
    parser.add_argument("--ssl-certfile", metavar="PEM", help="certificate, for https")
    parser.add_argument("--ssl-keyfile", metavar="PEM", help="its key, if in a file of its own")
    parser.add_argument(
        "--floor", type=number, help="reward in /get_reward of a text that cannot be scored "
        "(default: of an empty one the request's lowest; a refused one is an error)"
    )  # fmt: skip
    limits = parser.add_argument_group("batches and limits")
    limits.add_argument(
        "--batch-size", type=positive, default=64, help="responses predicted at once"
    )
    limits.add_argument(
        "--max-wait-ms", type=from_zero, default=5.0, help="how long one waits for others"
    )
    limits.add_argument(
        "--max-queue", type=positive, default=16384, help="responses that may wait; then 503"
    )
    limits.add_argument(
        "--max-items", type=positive, default=4096, help="responses of a request; then 413"
    )
    limits.add_argument(
        "--max-body-mb", type=above_zero, default=16.0, help="size of a request; then 413"
    )
    limits.add_argument(
        "--timeout", type=above_zero, default=30.0, help="seconds for it to arrive; then 408"
    )


def run(arguments):
    """Serve a saved model until the process is told to stop.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn serve``.
    """
    token = _token(arguments)
    _check_tls(arguments)
    if arguments.max_queue < arguments.max_items:
        raise ValueError(
            f"--max-queue {arguments.max_queue} has no room for a request of --max-items "
            f"{arguments.max_items}."
        )
    check_device(arguments.device)
    from ..serving import make_app
    from ..serving._server import bind, make_server, run_until_stopped

    listener = bind(arguments.host, arguments.port)
    with listener:
        name = Path(arguments.folder).resolve().name
        app = make_app(
            load_pipeline(arguments),
            name=name,
            token=token,
            batch_size=arguments.batch_size,
            max_wait_ms=arguments.max_wait_ms,
            max_queue=arguments.max_queue,
            max_items=arguments.max_items,
            max_body_mb=arguments.max_body_mb,
            body_seconds=arguments.timeout,
            floor=arguments.floor,
        )
        _forget_warnings()
        address = _address(listener, arguments.ssl_certfile)
        server = make_server(
            app,
            ssl_certfile=arguments.ssl_certfile,
            ssl_keyfile=arguments.ssl_keyfile,
            on_ready=lambda: say(f"{name} is served at {address}; Ctrl-C stops it."),
        )
        run_until_stopped(server, listener)
    say("stopped; everything that was accepted has been answered.")


def _token(arguments):
    """Return the token, or None where none is needed."""
    name = arguments.token_env
    token = os.environ.get(name, "")
    if not token:
        if _is_loopback(arguments.host):
            return None
        raise ValueError(
            f"--host {arguments.host}: others can reach it, so it needs a token, and the "
            f"environment variable {name} has none. Set one and give it to clients: "
            f"export {name}=$(python -c 'import secrets; print(secrets.token_urlsafe())')"
        )
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"the token in {name} needs at least {SHORTEST_TOKEN} ASCII characters, none of them "
            "a control character: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if token != token.strip():
        raise ValueError(f"the token in {name} begins or ends with white space.")
    if arguments.ssl_certfile is None and not _is_loopback(arguments.host):
        say("warning: without --ssl-certfile the token and all texts travel unencrypted.")
    return token


def _is_loopback(host):
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_tls(arguments):
    """Refuse files that are no certificate and key, before a model is loaded."""
    certificate, key = arguments.ssl_certfile, arguments.ssl_keyfile
    if certificate is None:
        if key is not None:
            raise ValueError("--ssl-keyfile goes with --ssl-certfile.")
        return
    import ssl

    for flag, path in (("--ssl-certfile", certificate), ("--ssl-keyfile", key)):
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"{flag} {path}: there is no such file.")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, key, password=lambda: ""
        )
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"--ssl-certfile {certificate}: not a certificate with its key, both as PEM and the "
            f"key without a password ({error})."
        ) from None


def _address(listener, certificate):
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"{'http' if certificate is None else 'https'}://{host}:{port}"


def _forget_warnings():
    """Say nothing of requests' texts: each warning once would still fill memory and log."""
    import warnings

    warnings.simplefilter("ignore")
