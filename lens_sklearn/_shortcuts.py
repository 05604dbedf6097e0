"""What the length of a response says of it: rewards that use no pairs and no model."""

import numpy as np

from ._messages import contents_of
from ._rows import read_responses


def response_lengths(rows):
    """Count the characters of responses, prompts left out.

    Parameters
    ----------
    rows : rows of text
        Preference rows with ``chosen`` and ``rejected``, or candidate rows with ``responses``,
        in any form that :class:`~lens_sklearn.LLMEmbedder` reads. Of messages the contents
        count, without tool calls, reasoning and other fields; an empty response has 0. A row's
        texts that share their first messages share a prompt, which does not count; plain texts
        without a ``prompt`` count as they are.

    Returns
    -------
    ndarray of float64, shape (n, 2) or (n_prompts, N)
        Characters of the chosen and the rejected response, or of each candidate; NaN is the
        padding of rows with fewer than N.

    Raises
    ------
    ValueError
        If the rows are texts alone, or malformed; the message names the row.

    See Also
    --------
    shortcut_rewards : Rewards that know no more than this.
    lens_sklearn.metrics.pair_accuracy_score : Accuracy on pairs of about equal length.

    Examples
    --------
    >>> from lens_sklearn import response_lengths
    >>> response_lengths([{"prompt": "2 + 2?", "chosen": "4.", "rejected": "It is 5."}])
    array([[2., 8.]])
    """
    table = read_responses(rows)
    if table.kind == "texts":
        raise ValueError("responses are read from preference or candidate rows; got texts alone.")
    items = table.responses
    lengths = np.full(items.shape, np.nan)
    for place, text in np.ndenumerate(items):
        if text is not None:
            lengths[place] = sum(map(len, contents_of(text)))
    return lengths


def shortcut_rewards(rows):
    """Return the rewards that prefer the longest and the shortest response.

    They use no pairs and no model, so a reward model is worth what it gains over them. A random
    pick needs no rewards: its accuracy is one half and its gold the mean of the candidates'.

    Parameters
    ----------
    rows : rows of text
        As in :func:`response_lengths`.

    Returns
    -------
    dict of str to ndarray of float64, shape (n, 2) or (n_prompts, N)
        "longest", the number of characters, and "shortest", its negative; NaN is padding.

    Raises
    ------
    ValueError
        As :func:`response_lengths`.

    See Also
    --------
    lens_sklearn.metrics.pair_accuracy_score : Judges them, and rewards where they are of no use.

    Examples
    --------
    >>> from lens_sklearn import best_of_n_score, shortcut_rewards
    >>> rows = [{"prompt": "2 + 2?", "responses": ["4.", "It is 5.", "4, I think."]}]
    >>> gold = [[1.0, -1.0, 0.5]]
    >>> {name: best_of_n_score(r, gold) for name, r in shortcut_rewards(rows).items()}
    {'longest': 0.5, 'shortest': 1.0}
    """
    lengths = response_lengths(rows)
    return {"longest": lengths, "shortest": -lengths}
