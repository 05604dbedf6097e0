"""What `export` asks a fitted estimator for, and gives to an estimator that it builds anew."""


class FittedState:
    """The fitted state of an estimator as plain values.

    A class names its fitted attributes in `fitted_state_names`; one whose attributes are not
    plain values (a network, a scikit-learn estimator) has methods of its own. A value is a JSON
    type, an ndarray, a fitted estimator of this package, or a list, tuple or dict of these.
    """

    fitted_state_names = ()

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
            If an attribute is not known, or does not fit the parameters.
        """
        unknown = sorted(set(state) - set(self.fitted_state_names))
        if unknown:
            raise ValueError(f"{type(self).__name__} has no fitted attribute {unknown[0]!r}")
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
