"""Text out of files and streams: unpacked, decoded and counted by line, in bounded memory."""

import bz2
import codecs
import gzip
import io
import lzma
import stat
import sys
import zlib
from contextlib import contextmanager, nullcontext
from pathlib import Path

MOST_BYTES = 64 << 20  # of a line, a cell or a row
CHUNK = 1 << 16
STDIN = ("-", "/dev/stdin")

# Text packs to a third or a tenth of its size; what unpacks to 200 times of it only fills memory.
_FREE, _MOST_RATIO = 32 << 20, 200
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BAD_PACKING = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, None),
)
_NO_TEXT = {
    b"(\xb5/\xfd": "is packed with zstd; unpack it first",
    b"PK\x03\x04": "is a zip archive, or an Excel workbook, whose sheet can be saved as CSV",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook; save its sheet as CSV",
    b"SQLite format 3": "is a database; write its rows as JSON lines",
    b"%PDF": "is a PDF document; rows of text are needed",
    b"version https://git-lfs": "is a pointer of Git LFS; 'git lfs pull' gets the file itself",
    b"<!DOCTYPE": "is a web page; download the file itself",
    b"<!doctype": "is a web page; download the file itself",
    b"<html": "is a web page; download the file itself",
}


class TextLines:
    """Lines of UTF-8 text, or pieces of it, each decoded on its own.

    Parameters
    ----------
    stream : binary stream
        With ``readline`` and ``read``.
    name : str
        What messages call it.

    Attributes
    ----------
    number : int
        Lines that were read.
    """

    def __init__(self, stream, name):
        self.name, self.number = name, 0
        self._stream = stream
        self._aside = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __iter__(self):
        return self

    def __next__(self):
        line = self._aside or self._stream.readline(MOST_BYTES + 1)
        self._aside = b""
        if not line:
            raise StopIteration
        self.number += 1
        if line == b"\n":  # files may have millions
            return "\n"
        if len(line) > MOST_BYTES:
            raise ValueError(
                f"{self.where()}: is longer than {MOST_BYTES >> 20} MiB; a row stands on a line of "
                "its own."
            )
        return self._text(line, codecs.decode, self.number)

    def peek(self):
        """Look at what comes next.

        Returns
        -------
        bytes
            The first byte that is no white space; empty if there is none nearby.
        """
        return self._stream.peek(CHUNK).lstrip()[:1]

    def next_is_long(self):
        """Tell whether a line is longer than what is read at once, without reading it.

        Returns
        -------
        bool
            Of the next line, once a part of it was set aside.
        """
        self._aside = self._stream.readline(MOST_BYTES + 1)
        return len(self._aside) > MOST_BYTES

    def where(self, number=None):
        """Name a line.

        Parameters
        ----------
        number : int, default=None
            Its number from 1; None is the last that was read.

        Returns
        -------
        str
            The file and the line.
        """
        return f"{self.name}, line {self.number if number is None else number}"

    def read(self, size, number):
        """Read a piece, for text whose lines mean nothing.

        Parameters
        ----------
        size : int
            Bytes.
        number : int
            Of the line that it begins on, for messages.

        Returns
        -------
        str
            Empty at the end.
        """
        piece = self._aside or self._stream.read(size)
        self._aside = b""
        return self._text(piece, lambda data: self._decoder.decode(data, not data), number)

    def _text(self, data, decode, number):
        zero = data.find(b"\0")
        if zero >= 0:
            line = number + data.count(b"\n", 0, zero)
            raise ValueError(
                f"{self.where(line)}: has a NUL byte: this is no text, or UTF-16 without its byte "
                "order mark; save it as UTF-8."
            )
        try:
            return decode(data)
        except UnicodeDecodeError as error:
            bad, line = error.object[error.start], number + data.count(b"\n", 0, error.start)
            raise ValueError(
                f"{self.where(line)}: not UTF-8 (byte 0x{bad:02x}). Save the file as UTF-8; "
                "'iconv -f cp1252 -t utf-8' does it for one of Windows or latin-1."
            ) from None


@contextmanager
def open_stream(path):
    """Open a file or standard input, unpacked and as UTF-8.

    Parameters
    ----------
    path : str or Path
        A file, packed or not, which is told by its first bytes; ``-`` is standard input.

    Yields
    ------
    io.BufferedReader
        Its bytes, those of text in UTF-8 without a byte order mark.

    Raises
    ------
    OSError
        If it is not there, cannot be read, or is no file.
    ValueError
        If what is read from it is packed badly or in no way that is known.
    """
    with _open(path) as file:
        stream = io.BufferedReader(_Checked(file, path), CHUNK)
        first = stream.peek(16)
        packing = next((kind for mark, kind in _PACKED.items() if first.startswith(mark)), None)
        if packing is not None:
            counted = stream.raw
            unpacked = packing(stream)
            stream = io.BufferedReader(_Checked(unpacked, path, counted), CHUNK)
            first = stream.peek(16)
        for mark, what in _NO_TEXT.items():
            if first.startswith(mark):
                raise ValueError(f"{path}: {what}.")
        for mark, encoding in _MARKS:
            if first.startswith(mark):
                if encoding is None:
                    stream.read(len(mark))
                else:
                    stream = io.BufferedReader(_Recoded(stream, path, encoding), CHUNK)
                break
        first = stream.peek(CHUNK)
        if b"\r" in first and b"\n" not in first and len(first) > first.index(b"\r") + 1:
            stream = io.BufferedReader(_OldLineEnds(stream), CHUNK)
        yield stream


def _open(path):
    if str(path) in STDIN:
        if sys.stdin is None:
            raise OSError(f"{path}: standard input is closed.")
        return nullcontext(sys.stdin.buffer)
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path}: this is a folder; give a file.")
    if not stat.S_ISREG(mode):
        raise OSError(f"{path}: this is no file but a pipe or a device; pipe it into '-'.")
    try:
        return open(path, "rb", buffering=0)
    except PermissionError:
        raise PermissionError(f"{path}: there is no permission to read it.") from None


class _Stage(io.RawIOBase):
    """A stage between a file and its reader."""

    def __init__(self, source):
        self._source = source

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Checked(_Stage):
    """Bytes that are counted; `packed` is the stage that they are unpacked from."""

    def __init__(self, source, path, packed=None):
        super().__init__(source)
        self._path, self._packed = path, packed
        self.size = 0

    def _next(self, size):
        try:
            data = self._source.read(size)
        except _BAD_PACKING as error:
            raise self._damaged(error) from None
        except OSError as error:
            if self._packed is None:
                raise OSError(f"{self._path}: {error.strerror or error}.") from None
            raise self._damaged(error) from None
        self.size += len(data)
        if self._packed is not None and self.size > max(_FREE, _MOST_RATIO * self._packed.size):
            raise ValueError(
                f"{self._path}: unpacks to more than {_MOST_RATIO} times its size, which rows of "
                "text do not; unpack it yourself if you trust it."
            )
        return data

    def _damaged(self, error):
        return ValueError(
            f"{self._path}: what is packed in it is damaged or cut off ({error}); get it again."
        )


class _Recoded(_Stage):
    """UTF-16 or UTF-32 as UTF-8."""

    def __init__(self, source, path, encoding):
        super().__init__(source)
        self._path, self._rest, self._lines = path, b"", 1
        self._decoder, self._encoding = codecs.getincrementaldecoder(encoding)(), encoding

    def _next(self, size):
        while not self._rest:
            data = self._source.read(CHUNK)
            try:
                text = self._decoder.decode(data, not data)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{self._path}, line {self._lines} or after: not {self._encoding.upper()} "
                    f"({error.reason}), as its byte order mark says; save it as UTF-8."
                ) from None
            self._lines += text.count("\n")
            self._rest = text.encode()
            if not data:
                break
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class _OldLineEnds(_Stage):
    """Lines that end in a carriage return alone."""

    def _next(self, size):
        return self._source.read1(size).replace(b"\r", b"\n")
