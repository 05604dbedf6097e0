"""The Bradley–Terry reward model on embeddings, trained by a privately held skorch net."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split
from skorch.utils import noop

from ._augmented_pairs import AugmentedPairs
from ._device import as_tensor, draw_seed, on_device, torch_device
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
from ._validation import check_embeddings, check_pairs, rated_order
from .metrics import best_of_n_score

#: Embeddings scored at once: bounds the memory of predict.
CHUNK = 8192
#: What mean and deviation of standard features may be off by: rounding, hardly more.
STANDARD = 1e-3


class PairwiseReward(RegressorMixin, BaseEstimator):
    """What reward models share: weights, checks, and scores of the rewards that they give."""

    def _weighted(self, pairs, X, y, sample_weight):
        if sample_weight is None:
            weight = pairs.weight
        elif not isinstance(X, AugmentedPairs) and np.asarray(X).ndim == 2:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            weight = weight[np.stack(rated_order(y))].prod(axis=0)
        else:
            n = len(pairs) if len(sample_weight) == len(pairs) else len(pairs.originals)
            weight = _check_sample_weight(sample_weight, np.empty((n, 1)), ensure_non_negative=True)
            weight = pairs.weight * (weight if n == len(pairs) else weight[pairs.parent])
        if not weight.sum() > 0:
            raise ValueError("the weights of all pairs are zero; at least one must be positive.")
        pairs = pairs[np.flatnonzero(weight)]
        weight = weight[weight > 0]
        pairs.weight = (weight / weight.mean()).astype(np.float32)
        return pairs

    def predict(self, X):
        """Return the rewards of embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings: candidates (n_prompts, N, d), pairs (n, 2, d) or any other. All-NaN
            candidates are padding.

        Returns
        -------
        ndarray of float, shape (...)
            Rewards, NaN for padding.
        """
        check_is_fitted(self)
        if isinstance(X, AugmentedPairs):
            X = np.asarray(X)
        X = check_embeddings(self, X, reset=False, allow_padding=True)
        return self._rewards(X.reshape(-1, X.shape[-1])).reshape(X.shape[:-1])

    def _rewards(self, rows):
        """Return the rewards of embeddings (m, d)."""
        raise NotImplementedError

    def decision_function(self, X):
        """Return how much more reward column 0 gets than column 1.

        Parameters
        ----------
        X : AugmentedPairs or array-like of shape (n, 2, d), or of shape (n, d)
            Pairs. Embeddings that are not in a pair are held against a reward of 0.

        Returns
        -------
        ndarray of float32, shape (n,)
            ``r0 - r1``, the log-odds that column 0 wins.
        """
        rewards = self.predict(X)
        if rewards.ndim == 1:
            return rewards
        if rewards.ndim != 2 or rewards.shape[1] != 2:
            raise ValueError(
                f"expected pairs of shape (n, 2, d); got rewards of shape {rewards.shape}."
            )
        return rewards[:, 0] - rewards[:, 1]

    def score(self, X, y=None, sample_weight=None):
        """Return the mean gold reward of the Best-of-N pick, or pair accuracy without gold.

        Both are larger for a better model. The first is what a reward model is for.

        Parameters
        ----------
        X : array-like of shape (n, N, d), (n, 2, d), or (n, d) with ratings y
            Candidates with gold rewards, or pairs.
        y : array-like of shape (n, N) or (n,), optional
            Gold rewards of the candidates: the score is the mean gold reward of the candidate
            with the largest predicted reward. For pairs, the probability that column 0 wins
            (default 1); for embeddings of shape (n, d), ratings that pair them. The score is
            then the share of pairs ordered rightly, ties counting half.
        sample_weight : array-like of shape (n,), optional
            Weight of each prompt or pair.

        Returns
        -------
        float
            Mean gold reward, or accuracy.
        """
        check_is_fitted(self)
        if y is not None and np.ndim(y) == 2:
            return best_of_n_score(self.predict(X), y, sample_weight=sample_weight)
        pairs = check_pairs(self, X, y, reset=False)
        if sample_weight is not None and len(sample_weight) != len(pairs):
            sample_weight = np.asarray(sample_weight)[np.stack(rated_order(y))].prod(axis=0)
        wins = np.sign(self.decision_function(pairs)) / 2 + 0.5  # 1, ½ for a tie, 0
        agreement = pairs.target * wins + (1 - pairs.target) * (1 - wins)
        return float(np.average(agreement, weights=sample_weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.regressor_tags.poor_score = True
        return tags


class BTRewardRegressor(PairwiseReward):
    r"""Bradley–Terry reward model on embeddings of preference pairs.

    A two-layer perceptron r is trained so that :math:`\sigma(r(e^+) - r(e^-))` is the
    probability that the chosen embedding wins (LENS, equation 9).

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
        ``valid_loss``.
    n_features_in_ : int
        d.

    Notes
    -----
    A reward is known up to a shift: only differences mean something.

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
        self.callbacks = callbacks
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Learn the reward from pairs.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen. Rated embeddings are paired by the order of their ratings.
        y : array-like of shape (n,), optional
            Probability that column 0 wins (default 1; 0.5 for a pair of equal embeddings);
            for augmented pairs a value an original, for rated embeddings the ratings.
        sample_weight : array-like of shape (n,), optional
            Weight of each pair; for augmented pairs a value an original, for rated embeddings
            a pair weighs the product of its members' weights.

        Returns
        -------
        BTRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs, targets outside [0, 1], weights that are all zero, or too few
            pairs for a validation split.
        """
        pairs = self._weighted(check_pairs(self, X, y, reset=True), X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        train, valid = self._split(pairs, random_state)
        net = self._make_net(train, valid, random_state)
        if self.standardize:
            net.set_params(module__moments=_moments(pairs))
        net.fit(train, y=None)
        kept = ["epoch", *losses_of(net.history), "dur"]
        self.history_ = [{key: float(row[key]) for key in kept} for row in net.history]
        net.trim_for_prediction()
        net.module_ = net.module_.cpu()
        net.module_.absorb_moments()
        net.device = "cpu"
        self.net_ = net
        return self

    def _split(self, pairs, random_state):
        """Hold out whole parents; validate on their original pairs alone."""
        device = torch_device(self.device)
        if not self.early_stopping:
            return PairDataset(pairs, device, self.hidden_dim), None
        parents = np.unique(pairs.parent[~pairs.is_synthetic])
        n_valid = max(1, int(self.validation_fraction * len(parents)))
        if len(parents) <= n_valid:
            raise ValueError(
                f"early_stopping=True holds out {n_valid} of {len(parents)} original pairs "
                f"(n_samples={len(parents)}), which leaves none to train on; give at least "
                f"{n_valid + 1} or set early_stopping=False."
            )
        held_out = np.isin(pairs.parent, random_state.permutation(parents)[:n_valid])
        train = np.flatnonzero(~held_out)
        valid = np.flatnonzero(held_out & ~pairs.is_synthetic)
        datasets = (PairDataset(pairs[rows], device, self.hidden_dim) for rows in (train, valid))
        return tuple(datasets)

    def _make_net(self, train, valid, random_state):
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
            device=torch_device(self.device),
            verbose=max(0, int(self.verbose) - 1),
            module__n_features=train.pairs.shape[-1],
            module__hidden_dim=self.hidden_dim,
            module__seed=draw_seed(random_state),
            module__output_init=self.output_init,
            criterion__label_smoothing=self.label_smoothing,
            criterion__center_coefficient=self.center_coefficient,
            optimizer__weight_decay=self.weight_decay,
            optimizer__fused=True,
            iterator_train__seed=draw_seed(random_state),
        )

    def _rewards(self, rows):
        device = torch_device(self.device)
        module = on_device(self.net_.module_, device).eval()
        rewards = np.empty(len(rows), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), CHUNK):
                chunk = as_tensor(rows[start : start + CHUNK]).to(device)
                rewards[start : start + CHUNK] = module(chunk).cpu().numpy()
        return rewards


def _moments(pairs):
    """Return mean and deviation of the originals' features (2, d), None where they are 0 and 1."""
    used = np.unique(pairs.parent)  # without those of no weight
    originals = pairs.originals if len(used) == len(pairs.originals) else pairs.originals[used]
    scaler = EmbeddingScaler().fit(originals).scaler_
    moments = np.stack([scaler.mean_, scaler.scale_])
    if np.allclose(moments.T, [0, 1], rtol=0, atol=STANDARD):
        return None
    return torch.from_numpy(moments.astype(np.float32))
