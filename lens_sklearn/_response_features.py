"""The second view of a response: what can be counted in it, as named numbers."""

from difflib import get_close_matches
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ._augmented_pairs import pairs_of_rows
from ._fitted_state import FittedState
from ._messages import message_dicts
from ._rows import read_responses, text_of
from ._text_counts import NAMES, OF_BOTH, OF_RESPONSE, Text


class ResponseFeatures(FittedState, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    r"""Turn rows of text into named numbers that a reader could count in a response.

    Preference rows become pairs ``(n, 2, k)``, candidate rows become ``(n, N, k)``. Nothing is
    learned: `fit` only checks the parameters. Judges differ in how they like a response to be
    written, and a few pairs tell; what it says is for the embedding
    (:class:`ResponseViews` joins the two).

    Parameters
    ----------
    features : "all" or list of str, default="all"
        Which features of the table below, in which order. An empty list leaves `functions` and
        `labellers` alone.
    functions : dict of str to callable, default=None
        One's own features: each is called with the texts of a prompt (empty where there is
        none) and a response, and returns a finite number. Equal texts are asked for once.
    labellers : dict of str to labeller, default=None
        Each has ``score(prompts, responses)`` as :class:`~lens_sklearn.textual.PairLabeller`
        says; its scores are a feature. Rows need a prompt.
    on_invalid : {"keep", "raise", "drop"}, default="keep"
        What becomes of an empty response, an empty candidate apart, which is always kept but
        under "drop". "keep" counts its features, "raise" is an error, "drop" gives it all-NaN
        features, and so with whatever else is malformed in a row, as :class:`LLMEmbedder` does.

    Attributes
    ----------
    n_features_out_ : int
        k.

    See Also
    --------
    ResponseViews : The embedding and these features side by side.
    LLMEmbedder : What a response says.

    Notes
    -----
    Counts enter as ``log(1 + count)``, so that the tenth list item weighs less than the first.

    ============================ =============================================================
    name                         meaning
    ============================ =============================================================
    ``log_characters``           characters
    ``log_words``                words; in scripts without spaces every letter is one
    ``log_lines``                lines that are not blank
    ``log_paragraphs``           blocks between blank lines
    ``log_list_items``           lines that begin like ``-``, ``*``, ``•``, ``1.`` or ``a)``
    ``log_headings``             lines that begin with ``#``, or are bold as a whole
    ``log_bold``                 bold passages
    ``log_code_fences``          blocks of code
    ``log_inline_code``          passages between single backticks
    ``log_links``                addresses and Markdown links
    ``log_table_rows``           lines of Markdown tables
    ``log_math``                 formulas of LaTeX
    ``log_questions``            question marks of any script
    ``log_exclamations``         exclamation marks
    ``log_colons``               colons
    ``log_quotes``               double quotation marks of any language
    ``log_parentheses``          opening parentheses
    ``log_emoji``                emoji
    ``digits_share``             share of digits among the characters
    ``capitals_share``           share of capitals among the letters that have case
    ``non_ascii_share``          share of characters beyond ASCII
    ``log_word_length``          mean characters a word
    ``log_sentence_length``      mean words a sentence; a line break ends a sentence too
    ``distinct_words_share``     share of distinct words among the words
    ``repeated_trigrams_share``  share of runs of three words that were there before
    ``first_person_share``       share of words such as "I" and "my"
    ``refusal_start``            1 if it begins as refusals do, in some twenty languages
    ``opening_courtesy``         1 if it begins with "Sure", "Great question" or the like
    ``finished``                 1 if the end is a finished sentence, quote, code, list or table
    ``prompt_overlap``           share of the prompt's words that the response has
    ``response_overlap``         share of the response's words that the prompt has
    ``log_characters_by_prompt`` ``log_characters`` times the centered log length of the prompt
    ============================ =============================================================

    Rewards are compared within a prompt, so a number of the prompt alone cancels, and with it
    the log of a ratio of lengths. The prompt's length has an effect only in a product: the last
    feature lets longer prompts ask for longer responses. Without a prompt the last three are 0.

    Features have very different scales: :class:`EmbeddingScaler` standardizes them.

    Examples
    --------
    >>> from lens_sklearn import ResponseFeatures
    >>> rows = [{"prompt": "Name two colors.", "chosen": "- red\n- blue", "rejected": "red"}]
    >>> features = ResponseFeatures(["log_words", "log_list_items", "finished"])
    >>> features.fit_transform(rows).astype(float).round(2).tolist()
    [[[1.1, 1.1, 1.0], [0.69, 0.0, 0.0]]]
    >>> features.columns("finished"), len(ResponseFeatures().names)
    ([-1], 32)
    """

    _parameter_constraints = {
        "features": [StrOptions({"all"}), list, tuple],
        "functions": [dict, None],
        "labellers": [dict, None],
        "on_invalid": [StrOptions({"keep", "raise", "drop"})],
    }
    fitted_state_names = ("n_features_out_",)

    def __init__(self, features="all", *, functions=None, labellers=None, on_invalid="keep"):
        self.features = features
        self.functions = functions
        self.labellers = labellers
        self.on_invalid = on_invalid

    @property
    def names(self):
        """Names of the features in the order of their columns, before `fit` too."""
        counted = NAMES if isinstance(self.features, str) else self.features
        return (*counted, *(self.functions or ()), *(self.labellers or ()))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Check the parameters; nothing is learned.

        Parameters
        ----------
        X : rows of text, default=None
            Not looked at: ``transform`` reads its rows itself.
        y : None
            Ignored.

        Returns
        -------
        ResponseFeatures
            Itself, fitted.

        Raises
        ------
        ValueError
            If a feature is not known, a name occurs twice, or there is no feature at all.
        TypeError
            If a function cannot be called, or a labeller has no ``score``.
        """
        names = self.names
        if not isinstance(self.features, str):
            _check_known(self.features, NAMES, "features")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the feature {twice[0]!r} occurs twice; give each its own name.")
        if not names:
            raise ValueError(
                "features=[]: there is no feature at all. Name some, or give functions or "
                "labellers."
            )
        for name, function in (self.functions or {}).items():
            if not callable(function):
                raise TypeError(
                    f"functions[{name!r}]: expected a function of a prompt and a response, got a "
                    f"{type(function).__name__}."
                )
        for name, labeller in (self.labellers or {}).items():
            if not callable(getattr(labeller, "score", None)):
                raise TypeError(
                    f"labellers[{name!r}]: expected an object with score(prompts, responses), got "
                    f"a {type(labeller).__name__}."
                )
        self.n_features_out_ = len(names)
        return self

    def transform(self, X):
        """Count the features of rows of text.

        Parameters
        ----------
        X : list of dict, DataFrame, datasets.Dataset, ndarray of object or nested list of str
            Preference rows, candidate rows or nested lists of texts, as :class:`LLMEmbedder`
            takes them; responses may be empty. Without a column ``prompt`` the prompt is the
            run of messages that a row's conversations share.

        Returns
        -------
        ndarray of float32, shape (n, 2, k), (n, N, k) or (..., k)
            The features. Those of a ragged candidate list's padding are all-NaN. Rows that a
            ``TextPairSynthesizer`` made become `AugmentedPairs`, which remember parents.

        Raises
        ------
        ValueError
            If a row is malformed, or a function or labeller gives what is no finite number or
            fails; the message names the row and the feature.
        """
        check_is_fitted(self)
        table = read_responses(X, self.on_invalid)
        cells, keys = _distinct(table)
        values = np.empty((len(keys), self.n_features_out_))  # float64, (distinct texts, k)

        def place(number):
            return table.place(int(np.flatnonzero(cells == number)[0]))

        self._count(keys, values)
        first = values.shape[1] - len(self.functions or ()) - len(self.labellers or ())
        for column, (name, function) in enumerate((self.functions or {}).items(), first):
            values[:, column] = _call(name, function, keys, place)
        first += len(self.functions or ())
        for column, (name, labeller) in enumerate((self.labellers or {}).items(), first):
            values[:, column] = _score(name, labeller, keys, place)
        out = np.full((*table.responses.shape, values.shape[1]), np.nan, dtype=np.float32)
        flat = out.reshape(-1, values.shape[1])
        flat[cells >= 0] = values[cells[cells >= 0]]
        return pairs_of_rows(out, X)

    def _count(self, keys, values):
        """Fill in the columns of the features that are counted, a distinct text at a time."""
        names = NAMES if isinstance(self.features, str) else self.features
        alone = [(j, OF_RESPONSE[name]) for j, name in enumerate(names) if name in OF_RESPONSE]
        both = [(j, OF_BOTH[name]) for j, name in enumerate(names) if name in OF_BOTH]
        prompts, numbers = {}, {}
        for i, (prompt, response) in enumerate(keys):
            of_response = Text(text_of(response))
            seen = numbers.setdefault(of_response.text, i)
            if seen < i:  # the same response to another prompt
                values[i, [j for j, _ in alone]] = values[seen, [j for j, _ in alone]]
            else:
                for j, feature in alone:
                    values[i, j] = feature(of_response)
            if both and prompt not in prompts:
                prompts[prompt] = Text(text_of(prompt))
            for j, feature in both:
                values[i, j] = feature(prompts[prompt], of_response)

    def columns(self, names):
        """Return where features stand, counted from the end.

        Parameters
        ----------
        names : str or list of str
            Features.

        Returns
        -------
        list of int
            Negative numbers: the same in the features alone and behind any embedding.

        Raises
        ------
        ValueError
            If a name is not known.

        Examples
        --------
        >>> from lens_sklearn import ResponseFeatures
        >>> ResponseFeatures(["log_words", "log_bold"]).columns(["log_bold", "log_words"])
        [-1, -2]
        """
        wanted = [names] if isinstance(names, str) else list(names)
        known = self.names
        _check_known(wanted, known, "columns")
        return [known.index(name) - len(known) for name in wanted]

    def get_feature_names_out(self, input_features=None):
        """Return the features' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of object, shape (k,)
            Names in the order of the columns.
        """
        check_is_fitted(self)
        return np.array(self.names, dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_out_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _check_known(names, known, where):
    """Refuse the first name that is not known, and say which one may be meant."""
    for name in names:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"{where}: there is no feature {name!r}.{meant} Known are {', '.join(known)}."
            )


def _distinct(table):
    """Return a number a cell, -1 for padding, and the (prompt, response) of each number."""
    numbers, cells = {}, []
    for prompt, response in zip(table.prompts.flat, table.responses.flat, strict=True):
        key = (prompt, response)
        cells.append(-1 if response is None else numbers.setdefault(key, len(numbers)))
    return np.array(cells), list(numbers)


def _call(name, function, keys, place):
    """Return a user's function of each distinct prompt and response, shape (m,)."""
    values = np.empty(len(keys))
    for i, (prompt, response) in enumerate(keys):
        try:
            value = function(text_of(prompt), text_of(response))
        except Exception as error:
            raise ValueError(
                f"{place(i)}: the function {name!r} failed with {type(error).__name__}: {error}"
            ) from error
        is_number = isinstance(value, Real | np.bool_) or getattr(value, "shape", None) == ()
        try:
            values[i] = float(value) if is_number else np.nan
        except (TypeError, ValueError):
            values[i] = np.nan
        if not _is_finite(values[i]):
            raise ValueError(
                f"{place(i)}: the function {name!r} returned {value!r:.60}; expected a finite "
                "number."
            )
    return values


def _score(name, labeller, keys, place):
    """Return a labeller's score of each distinct prompt and response, shape (m,)."""
    by_prompt = {}
    for i, (prompt, _) in enumerate(keys):
        if prompt is None:
            raise ValueError(f"{place(i)}: the labeller {name!r} needs a prompt, there is none.")
        by_prompt.setdefault(prompt, []).append(i)
    prompts = [_messages(prompt) for prompt in by_prompt]
    responses = [[_messages(keys[i][1]) for i in members] for members in by_prompt.values()]
    scores = np.asarray(labeller.score(prompts, responses), dtype=np.float64)
    expected = (len(prompts), max(map(len, responses)))
    if scores.shape != expected:
        raise ValueError(
            f"the labeller {name!r} returned scores of shape {scores.shape}; expected (prompts, "
            f"responses) = {expected}."
        )
    values = np.empty(len(keys))
    for row, members in zip(scores, by_prompt.values(), strict=True):
        values[members] = row[: len(members)]
    bad = np.flatnonzero(~_is_finite(values))
    if len(bad):
        raise ValueError(
            f"{place(bad[0])}: the labeller {name!r} gave {values[bad[0]]}; expected a finite "
            "number."
        )
    return values


def _is_finite(values):
    return np.abs(values) <= np.finfo(np.float32).max  # and not NaN


def _messages(text):
    """Return a text as a labeller takes it."""
    return text if isinstance(text, str) else message_dicts(text)
