"""How often something was tried, and when it was not as it should be."""

import resource
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field

#: Seconds and bytes that one try may take: far more than any of them needs.
LONGEST, LARGEST = 20, 1 << 30


@dataclass
class Tally:
    """The tries of one kind.

    Parameters
    ----------
    kind : str
        What is tried, for the table.
    tried : int, default=0
        How many.
    faults : list of str, default=[]
        What was wrong, for each try that failed.
    """

    kind: str
    tried: int = 0
    faults: list = field(default_factory=list)

    @contextmanager
    def attempt(self, what, allowed=()):
        """Count a try, and a fault if it ends in an error of another kind.

        Parameters
        ----------
        what : str
            Names the try in the list of faults.
        allowed : tuple of type, default=()
            Errors that are a right answer.
        """
        self.tried += 1
        start, before = time.monotonic(), _memory()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except allowed as error:
            words = str(error)
            if not words or len(words) > 2000:
                self.faults.append(f"{what}: a message of {len(words)} characters")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
            self.faults.append(f"{what}: {type(error).__name__} at {place}: {error}"[:500])
        if time.monotonic() - start > LONGEST:
            self.faults.append(f"{what}: took {time.monotonic() - start:.0f} s")
        if _memory() - before > LARGEST:
            self.faults.append(f"{what}: took {(_memory() - before) / 1e9:.1f} GB")

    def check(self, right, what):
        """Count a fault of a try unless something is right.

        Parameters
        ----------
        right : bool
            Whether it is.
        what : str
            Names the fault.
        """
        if not right:
            self.faults.append(what)


def _memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # on Linux


def as_table(tallies):
    """Return the table: kind, tried, failed.

    Parameters
    ----------
    tallies : list of Tally
        A row each.

    Returns
    -------
    str
        Markdown.
    """
    lines = ["| kind | tried | failed |", "|---|---:|---:|"]
    lines += [f"| {t.kind} | {t.tried:,} | {len(t.faults)} |" for t in tallies]
    return "\n".join(lines)
