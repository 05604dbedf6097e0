"""``python -m lens_sklearn`` is ``lens-sklearn``."""

import os
import sys

INTERRUPTED = 130


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
        code = INTERRUPTED
    if code == INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                pass
        # The interpreter itself ends by the signal where code that it compiled was interrupted,
        # and a second Ctrl-C would break its farewell.
        os._exit(INTERRUPTED)
    return code


if __name__ == "__main__":
    sys.exit(main())
