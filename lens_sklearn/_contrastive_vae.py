"""The contrastive variational autoencoder of LENS as an estimator: learning and sampling."""

from copy import deepcopy
from math import isfinite, sqrt
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted

from ._atomic_fit import atomic_fit
from ._device import as_tensor, draw_seed, on_device, row_order, torch_device, torch_generator
from ._divergence import has_finite_weights, raise_diverged
from ._learning_state import (
    adam_from_arrays,
    adam_state,
    adam_to_arrays,
    check_weights,
    random_state_from_values,
    random_state_to_values,
    set_weights,
    weights_to_arrays,
)
from ._pair_vae import PairVAE, lens_losses, lens_step
from ._pools import DecodedRows
from ._progress import progress_bar
from ._training_step import TrainingStep, optimizer_options, training_device, training_stream
from ._validation import check_embeddings, check_originals

#: Latents drawn at once.
CHUNK = 4096
#: Pairs that go through the network at once outside training, which bounds its memory.
MAPPED = 1024


class ContrastiveVAE(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    r"""Variational autoencoder of preference pairs with a contrastive term.

    Chosen and rejected embeddings are encoded into diagonal Gaussians whose distance the loss
    rewards (LENS, equations 4 to 6):

    .. math::
        L = \frac1N \sum_i \sum_{\pm} \Big[ \|e_i^\pm - \hat e_i^\pm\|^2
            + \beta\, KL\big(q(z|e_i^\pm)\,\|\,N(0, I)\big) \Big]
            - \frac{\gamma}{N} \sum_i W_2\big(q(z|e_i^+), q(z|e_i^-)\big)

    Parameters
    ----------
    latent_dim : int, default=16
        Dimensions of the latent space.
    hidden_dim : int, default=64
        Width of the hidden layer of encoder and decoder.
    sharing : {"heads", "none", "all"}, default="heads"
        What chosen and rejected share (the paper's Table 5): "heads" shares all but the
        posterior's projection, "none" shares nothing, "all" shares everything.
    beta : float, default=1.0
        Weight of the KL term.
    gamma : float, default=0.1
        Weight of the divergence between chosen and rejected posteriors.
    reconstruction : {"sum", "mean"}, default="sum"
        Squared error summed or averaged over the d features. The paper leaves it open; with
        the mean the KL term dominates at large d and latents collapse.
    learning_rate : float, default=1e-4
        Of Adam.
    batch_size : int, default=128
        Pairs a step. With fewer pairs than this, all of them make one batch.
    max_epochs : int, default=100
        Passes over the pairs.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last one.
    device : str, default="auto"
        Where to compute; "auto" takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Draws initial weights, order and latents.
    verbose : int, default=0
        1 shows a progress bar with the loss.

    Attributes
    ----------
    history_ : list of dict
        For each epoch the mean ``loss``, ``reconstruction``, ``kl`` and ``divergence``.
    module_ : torch.nn.Module
        The network.
    n_parameters_ : int
        Its number of weights.
    n_features_in_ : int
        d.

    See Also
    --------
    LatentPairAugmenter : Synthesises preference pairs with this model.

    References
    ----------
    LENS, "Limited Preference Data? Learning Better Reward Model with Latent Space Synthesis",
    sections 3.1 and 3.2.

    Examples
    --------
    >>> from lens_sklearn import ContrastiveVAE
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> pairs = make_preference_pairs(n_pairs=64, n_features=8, random_state=0).pairs
    >>> vae = ContrastiveVAE(latent_dim=4, max_epochs=2, random_state=0).fit(pairs)
    >>> vae.transform(pairs).shape
    (64, 2, 4)
    >>> vae.sample_pairs(pairs, n_samples=3, random_state=0).shape
    (64, 3, 2, 8)
    """

    _parameter_constraints = {
        "latent_dim": [Interval(Integral, 1, None, closed="left")],
        "hidden_dim": [Interval(Integral, 1, None, closed="left")],
        "sharing": [StrOptions({"heads", "none", "all"})],
        "beta": [Interval(Real, 0, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reconstruction": [StrOptions({"sum", "mean"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        latent_dim=16,
        hidden_dim=64,
        *,
        sharing="heads",
        beta=1.0,
        gamma=0.1,
        reconstruction="sum",
        learning_rate=1e-4,
        batch_size=128,
        max_epochs=100,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.latent_dim = latent_dim
        self.hidden_dim = hidden_dim
        self.sharing = sharing
        self.beta = beta
        self.gamma = gamma
        self.reconstruction = reconstruction
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # ---------------------------------------------------------------------- learning
    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def fit(self, X, y=None):
        """Learn the autoencoder.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs it is not used; embeddings of shape (n, d) are paired by its order.

        Returns
        -------
        ContrastiveVAE
            Itself, fitted.

        Raises
        ------
        ValueError
            If the pairs have another shape, are not finite, or differ in d from a warm start; if
            the training diverges, that is if its loss or weights are no longer finite.
        """
        warm = self.warm_start and hasattr(self, "module_")
        return self._learn(X, y, warm, self.max_epochs)

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def partial_fit(self, X, y=None):
        """Go on learning from pairs as they arrive: one pass over them.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            New pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            As in `fit`.

        Returns
        -------
        ContrastiveVAE
            Itself.
        """
        return self._learn(X, y, warm=hasattr(self, "module_"), n_epochs=1)

    def _initialize(self, n_features):
        random_state = check_random_state(self.random_state)
        self._set_network(self._network(n_features, torch_generator(random_state)))
        self._random_state = random_state
        self._adam_state = {}
        self.history_ = []

    def _network(self, n_features, generator):
        return PairVAE(n_features, self.latent_dim, self.hidden_dim, self.sharing, generator)

    def _set_network(self, module):
        self.module_ = module
        self.n_parameters_ = sum(p.numel() for p in module.parameters())

    def _learn(self, X, y, warm, n_epochs):
        pairs = check_originals(self, X, y, reset=not warm)
        if not warm:
            self._initialize(pairs.shape[-1])
        device = training_device(self.device, pairs.nbytes)
        order = torch.from_numpy(row_order(pairs))
        history = list(self.history_)
        bar = progress_bar(bool(self.verbose), n_epochs, type(self).__name__, "epoch")
        with training_stream(device), bar:
            # Copies, so that an interrupted warm start leaves the model as it was.
            module = deepcopy(self.module_).to(device)
            optimizer = torch.optim.Adam(
                module.parameters(), lr=self.learning_rate, **optimizer_options(device)
            )
            # Of an earlier call come the moments alone: the learning rate may have been set anew.
            moments = deepcopy(self._adam_state)
            optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
            noise = torch_generator(self._random_state, device)
            shuffle = torch_generator(self._random_state)
            total = torch.zeros(4, device=device)
            data = as_tensor(pairs).to(device).flatten(0, 1)  # (2n, d), no copy on the CPU
            step = lens_step(
                module, optimizer, data, total, self._total, self.reconstruction, self.batch_size
            )
            step = TrainingStep(step, device)
            for _ in range(n_epochs):
                shuffled = order[torch.randperm(len(order), generator=shuffle)]
                losses = self._epoch(step, shuffled.to(device), noise, total)
                history.append(losses)
                bar.set_postfix(loss=f"{losses['loss']:.4g}")
                bar.update()
                if not isfinite(losses["loss"]):
                    break
            # The last step's own loss is never computed.
            if not isfinite(history[-1]["loss"]) or not has_finite_weights(module):
                found = f"its loss or weights are not finite in epoch {len(history)}"
                remedy = f"standardize the embeddings, which go up to {np.abs(pairs).max():.3g}"
                raise_diverged(type(self).__name__, found, self.learning_rate, remedy)
            module, moments = module.cpu(), adam_state(optimizer)
        self.history_, self.module_, self._adam_state = history, module, moments
        return self

    def _epoch(self, step, order, noise, total):
        total.zero_()
        for index in order.split(self.batch_size):
            shape = (2, len(index), self.latent_dim)
            eta = torch.randn(shape, generator=noise, device=index.device)
            step(index, eta.movedim(1, 0))
        names = ("loss", "reconstruction", "kl", "divergence")
        return dict(zip(names, (total / len(order)).tolist(), strict=True))

    def _total(self, losses):  # equation 6
        return (
            losses["reconstruction"] + self.beta * losses["kl"] - self.gamma * losses["divergence"]
        )

    # ------------------------------------------------------------------------- export
    def get_fitted_state(self):
        """Return what the model has learnt and where its training stands.

        Returns
        -------
        dict
            Numbers, texts and arrays, in lists and dicts.
        """
        check_is_fitted(self)
        return {
            "n_features_in_": self.n_features_in_,
            "history_": [dict(epoch) for epoch in self.history_],
            "weights": weights_to_arrays(self.module_),
            "adam": adam_to_arrays(self.module_, self._adam_state),
            "random_state": random_state_to_values(self._random_state),
        }

    def set_fitted_state(self, state):
        """Take the place of the model that a state is of.

        Encodes, decodes, samples and goes on learning as that one does, given its parameters.

        Parameters
        ----------
        state : dict
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If its arrays do not fit the parameters.
        """
        n_features = int(state["n_features_in_"])
        sizes = (n_features, self.latent_dim, self.hidden_dim, self.sharing)
        check_weights(self, state["weights"], PairVAE.weight_shapes(*sizes))
        module = self._network(n_features, torch.Generator())
        set_weights(module, state["weights"])
        moments = adam_from_arrays(module, state["adam"])
        self._random_state = random_state_from_values(state["random_state"])
        self._adam_state = moments
        self._set_network(module)
        self.history_ = [dict(epoch) for epoch in state["history_"]]
        self.n_features_in_ = n_features

    # ---------------------------------------------------------------------- inference
    def encode(self, X):
        """Return the posteriors of pairs.

        Parameters
        ----------
        X : array-like of shape (n, 2, d) or (n, d)
            Pairs; embeddings that are not in a pair are encoded by both heads.

        Returns
        -------
        mean, std : ndarray of float32, each of shape (n, 2, latent_dim)
            Mean and standard deviation of the Gaussians.
        """
        pairs = self._check_pairs(X)
        mean, log_variance = self._map("encode", pairs)
        return mean, np.exp(0.5 * log_variance)

    def decode(self, z):
        """Map latents back to embeddings.

        Parameters
        ----------
        z : array-like of shape (n, 2, latent_dim)
            Latents, column 0 chosen.

        Returns
        -------
        ndarray of float32, shape (n, 2, d)
            Embeddings.
        """
        return self._map("decode", self._check_latents(z))[0]

    def transform(self, X):
        """Return the posteriors' means.

        Parameters
        ----------
        X : array-like of shape (n, 2, d) or (n, d)
            Pairs; embeddings that are not in a pair are encoded by both heads.

        Returns
        -------
        ndarray of float32, shape (n, 2, latent_dim)
            Latent means.
        """
        return self.encode(X)[0]

    def inverse_transform(self, z):
        """Map latents back to embeddings: `decode` under scikit-learn's name.

        Parameters
        ----------
        z : array-like of shape (n, 2, latent_dim)
            Latents.

        Returns
        -------
        ndarray of float32, shape (n, 2, d)
            Embeddings.
        """
        return self.decode(z)

    def sample_pairs(
        self, X, n_samples=1, *, noise_variance=0.01, n_candidates=4, random_state=None
    ):
        """Synthesise variants of pairs (equation 7).

        Around the posterior's mean of each embedding ``n_candidates * n_samples`` latents are
        drawn with Gaussian noise, the `n_samples` likeliest under the embedding's own
        posterior are kept, and only these are decoded.

        Parameters
        ----------
        X : array-like of shape (n, 2, d)
            Pairs, column 0 chosen.
        n_samples : int, default=1
            Variants of each pair.
        noise_variance : float, default=0.01
            Variance of the noise in latent space (the paper's A.1).
        n_candidates : int, default=4
            Candidates drawn for each variant kept.
        random_state : int, RandomState instance or None, default=None
            Draws the noise.

        Returns
        -------
        ndarray of float32, shape (n, n_samples, 2, d)
            Synthetic pairs.
        """
        rows = self.sample_rows(
            X,
            n_samples,
            noise_variance=noise_variance,
            n_candidates=n_candidates,
            random_state=random_state,
        )
        return rows[slice(None)].reshape(-1, n_samples, 2, self.n_features_in_)

    def sample_latents(
        self, X, n_samples=1, *, noise_variance=0.01, n_candidates=4, random_state=None
    ):
        """Draw the noisy latents that `sample_pairs` decodes.

        The noise goes to the rows in the order of their bytes, so shuffled pairs get the same
        noise each.

        Parameters
        ----------
        X : array-like of shape (n, 2, d)
            Pairs, column 0 chosen.
        n_samples : int, default=1
            Latents kept for each embedding.
        noise_variance : float, default=0.01
            Variance of the noise.
        n_candidates : int, default=4
            Candidates drawn for each latent kept.
        random_state : int, RandomState instance or None, default=None
            Draws the noise.

        Returns
        -------
        ndarray of float32, shape (n, n_samples, 2, latent_dim)
            Latents, the likeliest first.
        """
        pairs = self._check_pairs(X)
        return self._sample_latents(pairs, n_samples, noise_variance, n_candidates, random_state)

    def _sample_latents(self, pairs, n_samples, noise_variance, n_candidates, random_state):
        mean, log_variance = self._map("encode", pairs)  # (n, 2, latent_dim)
        generator = np.random.default_rng(draw_seed(random_state))
        order = row_order(pairs)
        latents = np.empty((len(pairs), n_samples, *mean.shape[1:]), dtype=np.float32)
        n_drawn = n_samples * n_candidates
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            shape = (len(rows), n_drawn, *mean.shape[1:])
            eta = sqrt(noise_variance) * generator.standard_normal(shape, dtype=np.float32)
            if n_candidates > 1:
                # log N(μ + η; μ, σ²) falls with Σ η²/σ²; everything else is the same for all.
                distance = (eta**2 * np.exp(-log_variance[rows, None])).sum(-1, keepdims=True)
                best = np.argsort(distance, axis=1)[:, :n_samples]
                eta = np.take_along_axis(eta, best, axis=1)
            latents[rows] = mean[rows, None] + eta
        return latents

    def sample_rows(
        self,
        X,
        n_samples=1,
        *,
        noise_variance=0.01,
        n_candidates=4,
        random_state=None,
        residual=False,
    ):
        """Synthesise as `sample_pairs`, but decode a row only when it is asked for.

        Parameters
        ----------
        X : array-like of shape (n, 2, d)
            Pairs, column 0 chosen.
        n_samples : int, default=1
            Variants of each pair.
        noise_variance : float, default=0.01
            Variance of the noise in latent space.
        n_candidates : int, default=4
            Candidates drawn for each variant kept.
        random_state : int, RandomState instance or None, default=None
            Draws the noise.
        residual : bool, default=False
            Whether an embedding is moved by what the noise changes, ``e + g(z + η) − g(z)``, and
            not replaced by ``g(z + η)``: its reconstruction error is then left out.

        Returns
        -------
        DecodedRows
            Rows in the order (pair, sample, column), ``2 * n * n_samples`` of them.
        """
        pairs = self._check_pairs(X)
        z = self._sample_latents(pairs, n_samples, noise_variance, n_candidates, random_state)
        codes = self._codes(z)  # (n, n_samples, 2, h)
        base = base_row = None
        if residual:  # the last layer's bias cancels
            mean = self._map("encode", pairs)[0]
            codes -= self._codes(mean[:, None])
            base = pairs.reshape(-1, pairs.shape[-1])
            base_row = np.arange(len(base)).reshape(-1, 1, 2).repeat(n_samples, axis=1).ravel()
        return DecodedRows(codes.reshape(-1, codes.shape[-1]), self._basis(), base, base_row)

    def _codes(self, z):
        """Activations before the last layer: a row of `_basis` each."""
        n, n_samples = z.shape[:2]
        hidden = self._map("hidden", z.reshape(n * n_samples, 2, -1))[0]
        hidden = hidden.reshape(n, n_samples, 2, -1)
        if len(self.module_.project) == 1:
            return hidden
        codes = np.zeros((*hidden.shape[:3], 2, hidden.shape[-1]), dtype=np.float32)
        codes[:, :, [0, 1], [0, 1]] = hidden  # each column reads its own decoder's rows
        return codes.reshape(*hidden.shape[:3], -1)

    def _basis(self):
        return self.module_.project.detach().flatten(0, 1).numpy().copy()  # (h + 1 or twice, d)

    def score(self, X, y=None):
        """Return minus the mean loss (equation 6) with latents at the posteriors' means.

        Larger is better, as scikit-learn asks of a score. No noise is drawn, so that the score
        of a model is one number.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            As in `fit`.

        Returns
        -------
        float
            Minus the mean loss.
        """
        check_is_fitted(self)
        pairs = check_originals(self, X, y, reset=False)
        total = 0.0
        with torch.inference_mode():
            for x in as_tensor(pairs).split(MAPPED):
                x = x.transpose(0, 1)
                mean, log_variance = self.module_.encode(x)
                losses = lens_losses(
                    x, self.module_.decode(mean), mean, log_variance, self.reconstruction
                )
                total += x.shape[1] * float(self._total(losses))
        return -total / len(pairs)

    def _check_pairs(self, X):
        check_is_fitted(self)
        X = check_embeddings(self, X, reset=False)
        if X.ndim == 2:
            return np.broadcast_to(X[:, None], (len(X), 2, X.shape[1]))
        if X.ndim != 3 or X.shape[1] != 2:
            raise ValueError(f"expected pairs of shape (n, 2, d), got shape {X.shape}.")
        return X

    def _check_latents(self, z):
        check_is_fitted(self)
        z = check_array(z, dtype=np.float32, allow_nd=True, input_name="z")
        if z.ndim != 3 or z.shape[1:] != (2, self.latent_dim):
            raise ValueError(
                f"expected latents of shape (n, 2, {self.latent_dim}), got shape {z.shape}."
            )
        return z

    def _map(self, function, X):
        """Apply a method of the network to (n, 2, ·), chunk by chunk."""
        device = torch_device(self.device)
        module = on_device(self.module_, device)
        chunks = []
        with torch.inference_mode():
            for start in range(0, len(X), MAPPED):
                x = as_tensor(X[start : start + MAPPED]).to(device)
                out = getattr(module, function)(x.transpose(0, 1))
                chunks.append(out if isinstance(out, tuple) else (out,))
        return [
            torch.cat(parts, dim=1).transpose(0, 1).contiguous().cpu().numpy()
            for parts in zip(*chunks, strict=True)
        ]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
