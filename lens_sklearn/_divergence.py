"""What is said of a training whose numbers are no longer finite."""


def has_finite_weights(module):
    """Whether the weights of a network are finite; asked once a fit, as a GPU must be waited for.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    bool
        False where one is NaN or infinite.
    """
    return all(bool(weight.isfinite().all()) for weight in module.parameters())


def raise_diverged(what, found, learning_rate, remedy):
    """Raise the error of a training that diverged.

    Parameters
    ----------
    what : str
        What was trained.
    found : str
        What was not finite, and in which epoch.
    learning_rate : float
        As it was.
    remedy : str
        What would do besides a lower one.

    Raises
    ------
    ValueError
        Always. A search counts it as a failed fit, whose score is `error_score`.
    """
    raise ValueError(
        f"the training of {what} diverged: {found}. Lower learning_rate, which is "
        f"{learning_rate:g}, or {remedy}."
    )
