"""A fit that is done to its end or not at all."""

from functools import wraps


def atomic_fit(method):
    """Let an estimator keep what it was where its fit fails or is interrupted.

    Parameters
    ----------
    method : callable
        `fit`, or another method that learns. It may set attributes; what it changes within the
        values of those that were there, it must put back itself.

    Returns
    -------
    callable
        The method. After any exception, Ctrl-C's among them, the attributes of the estimator are
        those from before: one that was not fitted is not, and one that was predicts as it did.
    """

    @wraps(method)
    def learn(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return learn
