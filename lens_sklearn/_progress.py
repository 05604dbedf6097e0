"""A progress bar over texts, shown where somebody watches."""

import sys

LONG_WORK = 64  # texts; with more of them a terminal shows a progress bar


def progress_bar(show, n_texts, desc="Embedding"):
    """Make a progress bar over texts.

    Parameters
    ----------
    show : bool or None
        None shows it on a terminal when there are many texts.
    n_texts : int
        How many.
    desc : str, default="Embedding"
        What is done with them.

    Returns
    -------
    tqdm.tqdm
        A context manager.
    """
    from tqdm.auto import tqdm

    if show is None:
        show = n_texts > LONG_WORK and sys.stderr.isatty()
    return tqdm(total=n_texts, desc=desc, unit="text", disable=not show)
