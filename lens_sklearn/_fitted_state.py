"""What `export` asks a fitted estimator for, and gives to an estimator that it builds anew."""

from numbers import Real

import numpy as np

#: Where an array may hold NaN, and where an infinity: the scale of a constant feature.
MAY_BE_NAN = {"left_out_log_odds_", "cv_results_", "log_losses_"}
MAY_BE_INFINITE = {"scale", "feature_scale_", "response_moments"}


class FittedState:
    """The fitted state of an estimator as plain values.

    A class names its fitted attributes in `fitted_state_names`; one whose attributes are not
    plain values (a network, a scikit-learn estimator) has methods of its own. A value is a JSON
    type, an ndarray, a fitted estimator of this package, or a list, tuple or dict of these.
    """

    fitted_state_names = ()
    #: Those that not every fitted estimator has.
    optional_state_names = ()

    def get_fitted_state(self):
        """Return the fitted attributes.

        Returns
        -------
        dict of str to object
            By name; what the estimator does not have is left out.
        """
        return {name: getattr(self, name) for name in self.fitted_state_names if name in vars(self)}

    def set_fitted_state(self, state):
        """Set the fitted attributes, so that the estimator is fitted.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If an attribute is not known, is missing, or does not fit the parameters.
        """
        unknown = sorted(set(state) - set(self.fitted_state_names))
        if unknown:
            raise ValueError(f"{type(self).__name__} has no fitted attribute {unknown[0]!r}")
        missing = set(self.fitted_state_names) - set(state) - set(self.optional_state_names)
        if missing:
            raise ValueError(f"a fitted {type(self).__name__} needs {sorted(missing)}")
        for name, value in state.items():
            setattr(self, name, value)


def check_shapes(owner, arrays):
    """Check arrays that were read from a file.

    Parameters
    ----------
    owner : object
        Named in the error.
    arrays : dict of str to tuple of (ndarray, tuple of int)
        Each array with the shape that it must have.

    Raises
    ------
    ValueError
        If an array has another shape.
    """
    for name, (array, shape) in arrays.items():
        if getattr(array, "shape", None) != shape:
            found = getattr(array, "shape", type(array).__name__)
            raise ValueError(f"{name} of {type(owner).__name__} has shape {found}, not {shape}")


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_array(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


def _is_estimator(value):
    return hasattr(value, "get_fitted_state") or hasattr(value, "get_params")


def _is_text(value):
    return isinstance(value, str)


def _is_table(is_value):
    return lambda value: isinstance(value, dict) and all(map(is_value, value.values()))


def _is_list(is_value):
    return lambda value: isinstance(value, list) and all(map(is_value, value))


def _kinds():
    """Yield (names of fitted attributes and of their parts, what they are, what tells it)."""
    yield (
        "n_features_in_ n_features_out_ n_response_features_ max_length_ n_overlong_ n_kept_ "
        "n_iter_ factor_ position has_gauss",
        "a whole number from 0",
        _is_count,
    )
    yield (
        "slope_ C_ feature_ratio_ log_marginal_likelihood_value_ norm norm_exponent "
        "wiener_exponent covariance_exponent gauss step",
        "a number",
        _is_number,
    )
    yield (
        "coef_ control_coef_ left_out_log_odds_ Cs_ log_losses_ feature_mean_ feature_scale_ "
        "X_train_ dual_coef_ strengths_ strength_weights_ prior_variance_ L_ classes_ mean_ scale_ "
        "var_ mean scale directions gains key exp_avg exp_avg_sq member_means_",
        "an array of numbers",
        _is_array,
    )
    yield "vae_ reward_ teacher_ augmenter_ embedder_ features_", "an estimator", _is_estimator
    yield "estimators_", "a list of estimators", _is_list(_is_estimator)
    yield "candidates_", "a table of estimators", _is_table(_is_estimator)
    yield "weights_ factor_scores_", "a table of numbers", _is_table(_is_number)
    yield "kernel_weights_", "a table of tables of numbers", _is_table(_is_table(_is_number))
    yield "weights", "a table of arrays", _is_table(_is_array)
    yield "adam random_state cv_results_", "a table", lambda value: isinstance(value, dict)
    yield "whitening_", "a table or null", lambda value: value is None or isinstance(value, dict)
    yield "views_", "a table of texts", _is_table(_is_text)
    yield "history_", "a list of tables of numbers", _is_list(_is_table(_is_number))
    yield "layers_ front_tokens_", "a list of whole numbers from 0", _is_list(_is_count)
    yield "poolings_", "a list of texts", _is_list(_is_text)
    yield "last_of_turn_", "true or false", lambda value: isinstance(value, bool)
    yield "revision_", "a text or null", lambda value: value is None or isinstance(value, str)


KINDS = {name: (what, is_one) for names, what, is_one in _kinds() for name in names.split()}


def check_kinds(owner, state):
    """Check that fitted attributes that were read from a file are what their names promise.

    Parameters
    ----------
    owner : object
        Named in the error.
    state : dict of str to object
        As `FittedState.get_fitted_state` returned it.

    Raises
    ------
    ValueError
        If one is something else, or not finite where it has to be.
    """
    for name, value in state.items():
        what, is_one = KINDS.get(name, ("", lambda value: True))
        if not is_one(value):
            raise ValueError(
                f"{name} of {type(owner).__name__} has to be {what}, not {_short(value)}"
            )
        if name in ("whitening_", "random_state") and isinstance(value, dict):
            check_kinds(owner, value)
        if name == "adam":
            for moments in value.values():
                if not isinstance(moments, dict):
                    raise ValueError(f"adam of {type(owner).__name__} has to hold tables")
                check_kinds(owner, moments)
        _check_finite(owner, name, value)


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def _check_finite(owner, name, value):
    """Refuse NaN and infinities in arrays at any depth."""
    if name in MAY_BE_NAN:
        return
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else ((name, part) for part in value)
        for key, part in parts:
            _check_finite(owner, key, part)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return
    wrong = ~np.isfinite(value)
    if name in MAY_BE_INFINITE:
        wrong &= value != np.inf
    if wrong.any():
        raise ValueError(
            f"{name} of {type(owner).__name__} holds {value[wrong].flat[0]}: "
            "it was damaged, or its training diverged"
        )
