"""``python -m lens_sklearn`` is ``lens-sklearn``."""

import signal
import sys


def main():
    """Run the command line as a process, which Ctrl-C ends at any time.

    Returns
    -------
    int
        The exit code.
    """
    try:
        from .cli import main as run

        code = run()
    except KeyboardInterrupt:  # while modules are imported
        print("lens-sklearn: interrupted", file=sys.stderr)
        code = 130
    if code == 130:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one is no other end
    return code


if __name__ == "__main__":
    sys.exit(main())
