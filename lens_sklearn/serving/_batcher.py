"""One thread that predicts, for all requests that wait."""

import threading
import time
from collections import deque

from .._row_scores import score_rows


class QueueFull(Exception):
    """More texts wait than may."""


class _Job:
    """The rows of a request, and what has been found of them."""

    def __init__(self, rows, future):
        self.rows, self.future = rows, future
        self.found = [None] * len(rows)
        self.n_taken = self.n_found = 0
        self.since = time.monotonic()


class Batcher:
    """Predicts the rows of many requests together, in one thread.

    Parameters
    ----------
    estimator : estimator
        Fitted. Only this object's thread uses it.
    has_deviation : bool
        Whether its ``predict`` takes ``return_std``.
    batch_size : int
        Responses that are predicted at once. A row is never divided.
    max_wait : float
        Seconds that a request waits for others at most.
    max_queue : int
        Responses that may wait.

    Attributes
    ----------
    n_queued : int
        Responses that wait.
    n_batches : int
        Predictions that were made.
    """

    def __init__(self, estimator, has_deviation, batch_size, max_wait, max_queue):
        self.estimator, self.has_deviation = estimator, has_deviation
        self.batch_size, self.max_wait, self.max_queue = batch_size, max_wait, max_queue
        self.n_queued = self.n_batches = 0
        self._jobs, self._changed = deque(), threading.Condition()
        self._closed, self._thread, self._loop = False, None, None

    def start(self, loop):
        """Begin to work for the requests of an event loop."""
        self._loop, self._closed = loop, False
        self._thread = threading.Thread(target=self._work, name="lens-reward", daemon=True)
        self._thread.start()

    def close(self):
        """Answer what waits, then end; returns when that is done."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def is_alive(self):
        """Return whether rows are worked on."""
        return self._thread is not None and self._thread.is_alive() and not self._closed

    def submit(self, rows):
        """Put rows into the queue; called in the event loop.

        Parameters
        ----------
        rows : list of n dict
            Each has ``responses``.

        Returns
        -------
        asyncio.Future
            Of n `Scores` or exceptions, of any kind. Rows of one that was cancelled are left out.

        Raises
        ------
        QueueFull
            If there is no room for them.
        """
        future = self._loop.create_future()
        size = sum(map(_size, rows))
        with self._changed:
            if self._closed or self.n_queued + size > self.max_queue:
                raise QueueFull
            self.n_queued += size
            self._jobs.append(_Job(rows, future))
            self._changed.notify()
        return future

    def _work(self):
        while batch := self._next_batch():
            rows = [job.rows[i] for job, i in batch]
            self.n_batches += 1
            done = []
            for (job, i), one in zip(batch, self._score(rows), strict=True):
                job.found[i] = one
                job.n_found += 1
                if job.n_found == len(job.rows):
                    done.append(job)
            try:
                self._loop.call_soon_threadsafe(_answer, done)
            except RuntimeError:  # the loop has ended, and with it whoever asked
                return

    def _score(self, rows):
        """Return scores or exceptions of rows, whatever the model does."""
        try:
            return score_rows(self.estimator, rows, self.has_deviation)
        except BaseException as error:  # it would end this thread, and nobody be answered any more
            return [error] * len(rows)

    def _next_batch(self):
        """Wait for rows and for company; return (job, row) of what comes next, or nothing."""
        with self._changed:
            while True:
                while not self._jobs and not self._closed:
                    self._changed.wait()
                if not self._jobs:
                    return []
                end = self._jobs[0].since + self.max_wait
                while self.n_queued < self.batch_size and not self._closed:
                    left = end - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                if batch := self._take():
                    return batch

    def _take(self):
        """Take a batch of rows; of a request that does not fit, the rest goes to the end."""
        batch, size = [], 0
        while self._jobs and size < self.batch_size:
            job = self._jobs.popleft()
            if job.future.cancelled():  # nobody waits for it any more
                self.n_queued -= sum(map(_size, job.rows[job.n_taken :]))
                continue
            before = job.n_taken
            while job.n_taken < len(job.rows):
                more = _size(job.rows[job.n_taken])
                if batch and size + more > self.batch_size:
                    break
                batch.append((job, job.n_taken))
                size += more
                job.n_taken += 1
            if job.n_taken == before:  # there was no room for it: it is the next one
                self._jobs.appendleft(job)
                break
            if job.n_taken < len(job.rows):
                self._jobs.append(job)  # so a long request does not hold up short ones
                break
        self.n_queued -= size
        return batch


def _size(row):
    return len(row["responses"])


def _answer(jobs):
    for job in jobs:
        if not job.future.done():
            job.future.set_result(job.found)
