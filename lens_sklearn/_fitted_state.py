"""What `export` asks a fitted estimator for, and gives to an estimator that it builds anew."""

from numbers import Real

import numpy as np

#: What fitted attributes are, by their names, which mean the same in all classes.
COUNTS = {"n_features_in_", "n_features_out_", "n_response_features_", "max_length_",
          "n_overlong_", "n_kept_", "n_iter_", "factor_"}  # fmt: skip
NUMBERS = {"slope_", "C_", "feature_ratio_", "log_marginal_likelihood_value_"}
ARRAYS = {"coef_", "control_coef_", "left_out_log_odds_", "Cs_", "log_losses_", "feature_mean_",
          "feature_scale_", "X_train_", "dual_coef_", "strengths_", "strength_weights_",
          "prior_variance_", "L_", "classes_", "mean_", "scale_", "var_"}  # fmt: skip
ESTIMATORS = {"vae_", "reward_", "teacher_", "augmenter_", "embedder_", "features_"}
TABLES = {"weights", "adam", "random_state", "cv_results_", "kernel_weights_", "weights_",
          "views_", "candidates_", "factor_scores_"}  # fmt: skip
LISTS = {"history_", "layers_", "poolings_", "estimators_"}
#: Where an array may hold NaN, and where an infinity: the scale of a constant feature.
MAY_BE_NAN = {"left_out_log_odds_", "cv_results_", "log_losses_"}
MAY_BE_INFINITE = {"scale", "feature_scale_"}


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
    kinds = ((COUNTS, "a whole number from 0", _is_count), (NUMBERS, "a number", _is_number),
             (ARRAYS, "an array of numbers", _is_array), (ESTIMATORS, "a fitted estimator",
             lambda value: hasattr(value, "get_fitted_state") or hasattr(value, "steps")),
             (TABLES, "a table", lambda value: isinstance(value, dict)),
             (LISTS, "a list", lambda value: isinstance(value, list)))  # fmt: skip
    for name, value in state.items():
        for names, what, is_one in kinds:
            if name in names and not is_one(value):
                raise ValueError(
                    f"{name} of {type(owner).__name__} has to be {what}, not {_short(value)}"
                )
        _check_finite(owner, name, value)


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_array(value):
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


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
    wrong = np.isnan(value) if name in MAY_BE_INFINITE else ~np.isfinite(value)
    if wrong.any():
        raise ValueError(
            f"{name} of {type(owner).__name__} holds {value[wrong].flat[0]}: "
            "it was damaged, or its training diverged"
        )
