"""Results as lines of JSON in a file, so that a run that was stopped goes on where it was."""

import json
import os
from pathlib import Path


class ResultLines:
    """A file of results that is read once and grows by whole lines.

    Its first line says what the results are of. What a killed process has left of a line is cut
    off.

    Parameters
    ----------
    path : str or Path
        The file; made if it is not there.
    header : dict of str to object
        What the results are of, as JSON.

    Attributes
    ----------
    lines : list of dict
        The results that are there.

    Raises
    ------
    ValueError
        If the file has results of something else, or is not such a file.
    """

    def __init__(self, path, header):
        self.path = Path(path)
        self.lines = []
        header = json.loads(json.dumps(header))  # as it is read back
        whole = self._read()
        if not whole:
            self._append(header)
            return
        try:
            found, *self.lines = map(json.loads, whole)
            differing = [name for name in header if found.get(name) != header[name]]
        except (ValueError, AttributeError):
            raise ValueError(
                f"{self.path}: these are no results of a comparison; give another folder."
            ) from None
        if differing:
            raise ValueError(
                f"{self.path} has results of another comparison: "
                f"{_tell(differing, found, header)}. Give another folder, or delete that file."
            )

    def _read(self):
        """Return the whole lines, and cut off what follows them."""
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            os.truncate(self.path, end)
        return content[:end].splitlines()

    def add(self, line):
        """Write a result.

        Parameters
        ----------
        line : dict of str to object
            As JSON.
        """
        self._append(line)
        self.lines.append(line)

    def _append(self, line):
        text = json.dumps(line, allow_nan=False) + "\n"
        with open(self.path, "ab") as file:
            file.write(text.encode())


def _tell(names, found, header):
    """Name what differs, with both values where these are short."""
    told = []
    for name in names:
        values = [json.dumps(content.get(name)) for content in (found, header)]
        told.append(name if max(map(len, values)) > 40 else f"{name} {values[0]}, not {values[1]}")
    return "; ".join(told)
