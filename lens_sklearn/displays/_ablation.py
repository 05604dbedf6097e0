"""A score over two parameters of a search."""

import numpy as np

from ._style import axes_or_new, load_matplotlib, wrap_labels


class AblationDisplay:
    """Heat map of a search's score over two parameters, the standard error in each cell.

    Create one with :meth:`from_cv_results` or :meth:`from_estimator`.

    Parameters
    ----------
    mean, standard_error : array-like of shape (n_y, n_x)
        Mean score over folds and its standard error; NaN where nothing was run.
    x_values, y_values : sequence of length n_x, n_y
        Values of the parameters.
    x_name, y_name : str
        The parameters.
    score_name : str, default="score"
        What was measured.

    Attributes
    ----------
    best_index : tuple of int
        Row and column of the largest mean.
    image_, ax_, figure_ : matplotlib objects
        Set by :meth:`plot`.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from lens_sklearn import AblationDisplay, BTRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> pairs = make_preference_pairs(n_pairs=40, n_features=4, random_state=0).pairs
    >>> grid = {"hidden_dim": [4, 8], "weight_decay": [0.0, 0.1]}
    >>> search = GridSearchCV(BTRewardRegressor(max_epochs=2, random_state=0), grid, cv=2)
    >>> AblationDisplay.from_estimator(search.fit(pairs)).mean.shape
    (2, 2)
    """

    def __init__(
        self, mean, standard_error, x_values, y_values, x_name, y_name, *, score_name="score"
    ):
        self.mean = np.asarray(mean, dtype=float)
        self.standard_error = np.asarray(standard_error, dtype=float)
        self.x_values, self.y_values = list(x_values), list(y_values)
        self.x_name, self.y_name, self.score_name = x_name, y_name, score_name
        shape = len(self.y_values), len(self.x_values)
        if self.mean.shape != shape or self.standard_error.shape != shape:
            raise ValueError(
                f"mean and standard_error have the shapes {self.mean.shape} and "
                f"{self.standard_error.shape}; expected {shape}, a row a value of {y_name} and a "
                f"column a value of {x_name}."
            )
        if np.isnan(self.mean).all():
            raise ValueError("every mean is NaN; nothing of the search has a score.")
        best = np.unravel_index(np.nanargmax(self.mean), shape)
        self.best_index = tuple(int(i) for i in best)

    @classmethod
    def from_estimator(cls, search, x=None, y=None, *, fixed=None, metric="score", ax=None):
        """Plot what a fitted search found.

        Parameters
        ----------
        search : GridSearchCV or the like
            Fitted; has ``cv_results_``.
        x, y : str, default=None
            The parameters across and upwards; None takes the two that vary.
        fixed : dict of str to object, default=None
            Values of further parameters that vary: only these are drawn.
        metric : str, default="score"
            The scorer's name, where the search has several.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        AblationDisplay
            With the plot drawn.

        Raises
        ------
        TypeError
            If it has no ``cv_results_`` of parameters.
        """
        results = getattr(search, "cv_results_", None)
        if results is None or "params" not in results:
            raise TypeError(
                f"this {type(search).__name__} has no cv_results_ of parameters; give a fitted "
                "GridSearchCV."
            )
        return cls.from_cv_results(results, x, y, fixed=fixed, metric=metric, ax=ax)

    @classmethod
    def from_cv_results(cls, cv_results, x=None, y=None, *, fixed=None, metric="score", ax=None):
        """Plot the results of a search over two parameters.

        Parameters
        ----------
        cv_results : dict
            ``cv_results_`` of a fitted search.
        x, y : str, default=None
            The parameters across and upwards; None takes the two that vary.
        fixed : dict of str to object, default=None
            Values of further parameters that vary: only these are drawn.
        metric : str, default="score"
            The scorer's name, where the search has several.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        AblationDisplay
            With the plot drawn.

        Raises
        ------
        ValueError
            If another number of parameters than two varies, a parameter or scorer is not there,
            or two results stand for one cell; the message names them.
        """
        params = list(cv_results["params"])
        rows = _rows_with(params, fixed or {})
        params = [params[i] for i in rows]
        x, y = _find_names(params, x, y)
        x_values, y_values = (_values_of([p[name] for p in params]) for name in (x, y))
        scores = _scores_of(cv_results, metric)[:, rows]  # (n_folds, n)
        mean = np.full((len(y_values), len(x_values)), np.nan)
        error = mean.copy()
        seen = set()
        for column, given in enumerate(params):
            at = _place(y_values, given[y]), _place(x_values, given[x])
            if at in seen:
                raise ValueError(
                    f"two results have {x}={given[x]!r} and {y}={given[y]!r}; give the value of "
                    "what else differs as fixed."
                )
            seen.add(at)
            found, n_folds = scores[:, column], len(scores)
            mean[at] = found.mean()
            error[at] = found.std(ddof=1) / np.sqrt(n_folds) if n_folds > 1 else np.nan
        return cls(mean, error, x_values, y_values, x, y, score_name=metric).plot(ax=ax)

    def plot(self, ax=None, *, cmap="cividis", format="{:.3f}"):
        """Draw the means as colors and numbers, the best one framed.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        cmap : str, default="cividis"
            A color map of matplotlib; this one grows lighter with the score, in gray as well.
        format : str, default="{:.3f}"
            How numbers are written.

        Returns
        -------
        AblationDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        self.image_ = ax.imshow(self.mean, cmap=cmap, origin="lower", aspect="auto")
        for (row, column), mean in np.ndenumerate(self.mean):
            if np.isnan(mean):
                continue
            text = format.format(mean)
            if not np.isnan(self.standard_error[row, column]):
                text += f"\n±{format.format(self.standard_error[row, column])}"
            shade = np.array(self.image_.cmap(self.image_.norm(mean))[:3])
            color = "black" if shade @ [0.299, 0.587, 0.114] > 0.5 else "white"
            ax.annotate(text, (column, row), ha="center", va="center", size="small", color=color)
        row, column = self.best_index
        rectangle = load_matplotlib("patches").Rectangle
        frame = {"fill": False, "edgecolor": "black", "linewidth": 2}
        ax.add_patch(rectangle((column - 0.5, row - 0.5), 1, 1, clip_on=False, zorder=3, **frame))
        ax.set_xticks(range(len(self.x_values)), [_text(v) for v in self.x_values])
        ax.set_yticks(range(len(self.y_values)), [_text(v) for v in self.y_values])
        ax.set(xlabel=self.x_name.split("__")[-1], ylabel=self.y_name.split("__")[-1])
        ax.set_title(f"{self.score_name} ± standard error", size="medium")
        wrap_labels(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _rows_with(params, fixed):
    """Return the indices of results that have the fixed values."""
    for name in fixed:
        if not any(name in given for given in params):
            known = ", ".join(sorted({key for given in params for key in given}))
            raise ValueError(f"fixed has {name!r}, which the search has not; it has {known}.")
    rows = [
        i
        for i, given in enumerate(params)
        if all(name in given and _same(given[name], value) for name, value in fixed.items())
    ]
    if not rows:
        raise ValueError(f"no result of the search has {fixed!r}.")
    return rows


def _find_names(params, x, y):
    """Return the two parameters; those not given are the ones that vary."""
    names = list(dict.fromkeys(name for given in params for name in given))
    for name in (x, y):
        if name is not None and name not in names:
            raise ValueError(f"the search has no parameter {name!r}; it has {', '.join(names)}.")
    if x is not None and x == y:
        raise ValueError(f"x and y are both {x!r}; give two parameters.")
    vary = [n for n in names if len(_values_of([p.get(n, None) for p in params])) > 1]
    others = [n for n in vary if n not in (x, y)]
    wanted = (x is None) + (y is None)
    if len(others) != wanted:
        raise ValueError(
            f"the parameters that vary are {', '.join(vary) or 'none'}; a heat map is of two. Give "
            "x and y, and one value of each other one as fixed."
        )
    x = others.pop(0) if x is None else x
    y = others.pop(0) if y is None else y
    partial = [given for given in params if x not in given or y not in given]
    if partial:
        raise ValueError(f"a result of the search has no {x} or no {y}: {partial[0]!r}.")
    return x, y


def _values_of(values):
    """Return distinct values, numbers in ascending order and others as they came."""
    distinct = []
    for value in values:
        if not any(_same(value, other) for other in distinct):
            distinct.append(value)
    numbers = all(np.isscalar(v) and not isinstance(v, str | bool) for v in distinct)
    return sorted(distinct) if numbers else distinct


def _same(one, other):
    """Whether two values of a parameter are the same; True is not 1, estimators are by identity."""
    if one is other:
        return True
    if isinstance(one, list | tuple):
        return type(one) is type(other) and one == other
    scalars = np.isscalar(one) and np.isscalar(other)
    return scalars and isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _place(values, value):
    return next(i for i, other in enumerate(values) if _same(value, other))


def _scores_of(cv_results, metric):
    """Return the scores of each fold, (n_folds, n_results)."""
    folds = sorted(k for k in cv_results if k.startswith("split") and k.endswith(f"_test_{metric}"))
    if not folds:
        found = [k.removeprefix("mean_test_") for k in cv_results if k.startswith("mean_test_")]
        raise ValueError(f"the search has no scores {metric!r} by fold; it has {', '.join(found)}.")
    return np.array([cv_results[key] for key in folds], dtype=float)


def _text(value):
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if np.isscalar(value) or value is None else type(value).__name__
