"""A progress bar, shown where somebody watches."""

import sys

LONG_WORK = 64  # texts; with more of them a terminal shows a progress bar


def progress_bar(show, n_texts, desc="Embedding", unit="text"):
    """Make a progress bar.

    Parameters
    ----------
    show : bool or None
        None shows it on a terminal when there are many texts.
    n_texts : int
        How many texts or other units.
    desc : str, default="Embedding"
        What is done with them.
    unit : str, default="text"
        What is counted.

    Returns
    -------
    tqdm.tqdm
        A context manager.
    """
    from tqdm.auto import tqdm

    if show is None:
        show = n_texts > LONG_WORK and sys.stderr.isatty()
    return tqdm(total=n_texts, desc=desc, unit=unit, disable=not show)
