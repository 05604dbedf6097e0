"""The Bradley–Terry reward model on embeddings, trained by a privately held skorch net."""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split
from skorch.utils import noop

from ._atomic_fit import atomic_fit
from ._base_reward import RewardRegressor
from ._calibration import fit_slope
from ._device import as_tensor, draw_seed, on_device, torch_device
from ._feature_scale import FeatureScale
from ._learning_state import check_weights, set_weights, weights_to_arrays
from ._lipschitz import lipschitz_upper_bound
from ._reward_net import (
    BradleyTerryLoss,
    EpochBar,
    PairBatches,
    PairDataset,
    RewardMLP,
    RewardNet,
    losses_of,
)
from ._scaler import EmbeddingScaler
from ._training_step import optimizer_options, training_device, training_stream
from ._validation import check_response_features, check_training_pairs

#: Embeddings scored at once: bounds the memory of predict.
CHUNK = 2048
#: What mean and deviation of standard features may be off by: rounding, hardly more.
STANDARD = 1e-3
#: Deviations below this would make infinite weights.
TINY = 1e-30


class BTRewardRegressor(RewardRegressor):
    r"""Bradley–Terry reward model on embeddings of preference pairs.

    A two-layer perceptron r is trained so that :math:`\sigma(r(e^+) - r(e^-))` is the
    probability that the chosen embedding wins (LENS, equation 9). At the end rewards are
    multiplied by a slope, so that log-odds mean what they say; orders do not change by it.

    Parameters
    ----------
    hidden_dim : int, default=256
        Width of the hidden layer.
    learning_rate : float, default=1e-4
        Of AdamW (which is Adam at ``weight_decay=0``).
    weight_decay : float, default=0.0
        Decoupled weight decay.
    max_epochs : int, default=20
        The most passes over the pairs.
    batch_size : int, default=128
        Pairs a step. With fewer pairs than this, all of them make one batch.
    early_stopping : bool, default=True
        Whether to stop when the loss on held-out pairs no longer falls, and to go back to the
        best epoch. The split holds out whole parents and only their original pairs: a
        synthetic pair never validates, and no child of a held-out pair is trained on.
    patience : int, default=5
        Epochs without improvement before stopping.
    validation_fraction : float, default=0.1
        Share of the parents held out, at least one.
    label_smoothing : float, default=0.0
        Moves targets t to ``t (1 - s) + s / 2``.
    center_coefficient : float, default=0.0
        Weight of the mean of ``(r0 + r1)²``, which keeps rewards near 0 (TRL's term).
    output_init : {"zero", "uniform"}, default="zero"
        How the output layer begins. "zero" lets every reward begin at 0, so that where the pairs
        say nothing it stays small; "uniform" is torch's own, presumably the paper's, whose random
        reward a few hundred pairs and 20 epochs do not undo.
    standardize : bool, default=True
        Whether the network learns as if features were standardised by the original pairs, so
        that their scale makes no difference. Hidden states have a few huge features, beside
        which a rate of 1e-4 leaves the others unlearnt. Behind an :class:`EmbeddingScaler` it
        changes nothing; False is the paper's.
    n_response_features : int, default=0
        How many of the last columns are response features (:class:`ResponseViews`); all of them
        where there is no embedding. They are always standardised by the original pairs, and kept
        within three deviations. Synthetic pairs are then decoded before the network reads them.
    callbacks : list of skorch callbacks, default=None
        Further callbacks of the training.
    device : str, default="auto"
        Where to compute; "auto" takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Draws initial weights, order and validation split.
    verbose : int, default=0
        1 shows a progress bar, 2 prints the losses of every epoch as well.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net, trimmed for prediction and kept on the CPU.
    history_ : list of dict
        For each epoch ``epoch``, ``train_loss``, ``dur`` and, with early stopping,
        ``valid_loss``, all before the slope.
    slope_ : float
        What rewards were multiplied by at the end, fitted to the held-out pairs of early stopping;
        1 without early stopping.
    n_features_in_ : int
        d.

    Notes
    -----
    A reward is known up to a shift: only differences mean something.

    A tenth of the pairs, which chose the epoch as well, makes a rough slope: 10 pairs of 100. For
    probabilities that matter take :class:`LinearRewardRegressor`, whose slope is fitted to all
    pairs, or ``CalibratedClassifierCV(PairClassifier(BTRewardRegressor()))``.

    References
    ----------
    LENS, section 3.3; R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block
    designs", Biometrika, 1952; for the head that begins near 0, OpenRLHF issue 348.

    Examples
    --------
    >>> from lens_sklearn import BTRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=300, n_features=8, random_state=0)
    >>> reward = BTRewardRegressor(learning_rate=1e-2, random_state=0).fit(toy.pairs)
    >>> reward.predict(toy.candidates).shape == toy.gold.shape
    True
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True
    """

    _parameter_constraints = {
        "hidden_dim": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "center_coefficient": [Interval(Real, 0, None, closed="left")],
        "output_init": [StrOptions({"zero", "uniform"})],
        "standardize": ["boolean"],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        hidden_dim=256,
        *,
        learning_rate=1e-4,
        weight_decay=0.0,
        max_epochs=20,
        batch_size=128,
        early_stopping=True,
        patience=5,
        validation_fraction=0.1,
        label_smoothing=0.0,
        center_coefficient=0.0,
        output_init="zero",
        standardize=True,
        n_response_features=0,
        callbacks=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.hidden_dim = hidden_dim
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.label_smoothing = label_smoothing
        self.center_coefficient = center_coefficient
        self.output_init = output_init
        self.standardize = standardize
        self.n_response_features = n_response_features
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        """Learn the reward from pairs.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen. Rated embeddings are paired within each group by the order
            of their ratings.
        y : array-like of shape (n,), optional
            Probability that column 0 wins (default 1; 0.5 for a pair of equal embeddings);
            for augmented pairs a value an original, for rated embeddings the ratings.
        sample_weight : array-like of shape (n,), optional
            Weight of each pair; for augmented pairs a value an original, for rated embeddings
            a pair weighs the product of its members' weights. Only the weights' ratios matter:
            the loss is a mean over pairs.
        groups : array-like of shape (n,), optional
            Prompts (:func:`~lens_sklearn.prompt_groups`), kept whole in the split of early
            stopping; for augmented pairs those of the originals. Default: each original has
            one of its own.

        Returns
        -------
        BTRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs, targets outside [0, 1], weights that are all zero, more response
            features than columns, or too few pairs or prompts for a validation split; if the
            training diverges, that is if its loss or weights are no longer finite.
        """
        pairs, groups = check_training_pairs(self, X, y, sample_weight, groups)
        check_response_features(self.n_response_features, pairs.shape[-1], alone=True)
        pairs = replace(pairs, weight=pairs.weight / pairs.weight.mean(dtype=np.float64))
        random_state = check_random_state(self.random_state)
        device = training_device(self.device, pairs.originals.nbytes)
        train, valid = self._split(pairs, groups, random_state, device)
        seeds = draw_seed(random_state), draw_seed(random_state)
        net = self._make_net(pairs.shape[-1], valid, *seeds, device)
        if self.standardize:
            net.set_params(module__moments=_moments(pairs, self.n_response_features))
        if self.n_response_features:
            moments = _response_moments(pairs, self.n_response_features)
            net.set_params(module__response_moments=moments)
        with training_stream(net.device):
            net.fit(train, y=None)
        kept = ["epoch", *losses_of(net.history), "dur"]
        self.history_ = [{key: float(row[key]) for key in kept} for row in net.history]
        net.trim_for_prediction()
        net.module_ = net.module_.cpu()
        net.module_.absorb_moments()
        net.device = "cpu"
        self.slope_ = self._fit_slope(net.module_, pairs, valid)
        net.module_.scale_rewards(self.slope_)
        self.net_ = net
        return self

    def _fit_slope(self, module, pairs, valid):
        """Return the slope of held-out pairs; their size is that of all originals."""
        if valid is None:
            return 1.0
        pairs = pairs[np.flatnonzero(~pairs.is_synthetic)]
        log_odds = np.empty(len(pairs))
        for chunk in gen_batches(len(pairs), CHUNK // 2):
            rows = pairs.rows(np.arange(chunk.start, chunk.stop))  # (b, 2, d)
            rewards = self._rewards(module, rows.reshape(-1, rows.shape[-1])).reshape(-1, 2)
            log_odds[chunk] = rewards[:, 0] - rewards[:, 1]
        held_out = np.isin(pairs.parent, valid.pairs.parent)
        return fit_slope(
            log_odds[held_out],
            pairs.target[held_out],
            pairs.weight[held_out],
            size=np.sqrt(np.average(log_odds**2, weights=pairs.weight)),
        )

    def _split(self, pairs, groups, random_state, device):
        """Hold out whole groups of parents; validate on their original pairs alone."""
        width = 0 if self.n_response_features else self.hidden_dim
        if not self.early_stopping:
            return PairDataset(pairs, device, width), None
        parents = np.unique(pairs.parent[~pairs.is_synthetic])
        held_out = np.isin(pairs.parent, self._hold_out(parents, groups[parents], random_state))
        train = np.flatnonzero(~held_out)
        valid = np.flatnonzero(held_out & ~pairs.is_synthetic)
        datasets = (PairDataset(pairs[rows], device, width) for rows in (train, valid))
        return tuple(datasets)

    def _hold_out(self, parents, groups, random_state):
        """Draw groups until they have the validation fraction of the parents; return those."""
        n, n_valid = len(parents), max(1, int(self.validation_fraction * len(parents)))
        names, group = np.unique(groups, return_inverse=True)
        drawn = random_state.permutation(len(names))
        size = np.cumsum(np.bincount(group)[drawn])
        n_drawn = int(np.searchsorted(size, n_valid)) + 1
        if n_drawn >= len(names):
            raise ValueError(
                f"early_stopping=True holds out {n_valid} of {n} original pairs (n_samples={n}) "
                f"with all others of their prompts, which leaves none of {len(names)} prompts to "
                "train on; give more, or set early_stopping=False."
            )
        return parents[np.isin(group, drawn[:n_drawn])]

    def _make_net(self, n_features, valid, seed, order_seed, device):
        callbacks = list(self.callbacks or [])
        if valid is not None:
            stop = EarlyStopping(patience=self.patience, load_best=True, sink=noop)
            callbacks.append(("early_stopping", stop))
        if self.verbose:
            callbacks.append(("epoch_bar", EpochBar()))
        return RewardNet(
            RewardMLP,
            criterion=BradleyTerryLoss,
            optimizer=torch.optim.AdamW,
            lr=self.learning_rate,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            train_split=None if valid is None else predefined_split(valid),
            iterator_train=PairBatches,
            iterator_valid=PairBatches,
            callbacks=callbacks,
            device=device,
            verbose=max(0, int(self.verbose) - 1),
            module__n_features=n_features,
            module__hidden_dim=self.hidden_dim,
            module__seed=seed,
            module__output_init=self.output_init,
            criterion__label_smoothing=self.label_smoothing,
            criterion__center_coefficient=self.center_coefficient,
            optimizer__weight_decay=self.weight_decay,
            **{f"optimizer__{k}": v for k, v in optimizer_options(device).items()},
            iterator_train__seed=order_seed,
        )

    @property
    def lipschitz(self):
        """Upper bound of the Lipschitz constant, in rewards per unit of embeddings; float."""
        check_is_fitted(self)
        module = self.net_.module_
        return lipschitz_upper_bound(module.steepness(), module.output.weight)

    def get_fitted_state(self):
        """Return the fitted attributes; see :mod:`lens_sklearn.export`.

        Returns
        -------
        dict of str to object
            The network's weights as arrays, the history, the slope and d.
        """
        return {
            "weights": weights_to_arrays(self.net_.module_),
            "history_": self.history_,
            "slope_": self.slope_,
            "n_features_in_": int(self.n_features_in_),
        }

    def set_fitted_state(self, state):
        """Set the fitted attributes.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If the weights do not fit the parameters.
        """
        d, k = int(state["n_features_in_"]), self.n_response_features
        check_weights(self, state["weights"], RewardMLP.weight_shapes(d, self.hidden_dim, k))
        net = self._make_net(d, None, seed=0, order_seed=0, device=torch.device("cpu"))
        if k:
            net.set_params(module__response_moments=torch.zeros(2, k))
        net.initialize()
        set_weights(net.module_, state["weights"])
        net.trim_for_prediction()
        net.module_ = net.module_.cpu()
        net.device = "cpu"
        self.net_, self.n_features_in_, self.history_ = net, d, state["history_"]
        self.slope_ = state.get("slope_", 1.0)  # what was saved earlier had none

    def _predict_rows(self, rows):
        return self._rewards(self.net_.module_, rows)

    def _rewards(self, module, rows):
        device = torch_device(self.device)
        module = on_device(module, device).eval()
        rewards = np.empty(len(rows), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), CHUNK):
                chunk = as_tensor(rows[start : start + CHUNK]).to(device)
                rewards[start : start + CHUNK] = module(chunk).cpu().numpy()
        return rewards


def _used_originals(pairs):
    """Return the originals (m, 2, d) that have pairs, and how much those weigh, (m,)."""
    weight = np.bincount(pairs.parent, pairs.weight, minlength=len(pairs.originals))
    used = np.flatnonzero(weight)
    originals = pairs.originals if len(used) == len(weight) else pairs.originals[used]
    return originals, weight[used]


def _response_moments(pairs, k):
    """Return mean and deviation of the last k columns of originals, (2, k)."""
    originals, weight = _used_originals(pairs)
    features = originals[..., -k:].reshape(-1, k)
    scale = FeatureScale.estimate(features, np.repeat(weight, 2))
    return torch.from_numpy(np.stack([scale.mean, scale.scale]).astype(np.float32))


def _moments(pairs, n_response_features=0):
    """Return mean and deviation of the originals' features (2, d), None where they are 0 and 1.

    An original counts as often as its pairs weigh; those whose pairs were left out do not.
    Response features are standardised elsewhere.
    """
    originals, weight = _used_originals(pairs)
    equal = np.ptp(weight) <= 1e-6 * weight.max()
    scaler = EmbeddingScaler().fit(originals, sample_weight=None if equal else weight).scaler_
    moments = np.stack([scaler.mean_, scaler.scale_])
    moments[1, moments[1] < TINY] = 1.0  # constant, but for numbers at the end of float32's range
    moments[:, moments.shape[1] - n_response_features :] = [[0], [1]]
    if np.allclose(moments.T, [0, 1], rtol=0, atol=STANDARD):
        return None
    return torch.from_numpy(moments.astype(np.float32))
