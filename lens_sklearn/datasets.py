"""Data with known gold rewards, and readers of preference files."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from ._demo_data import demo_responses
from ._io import load_candidates, load_preferences

__all__ = [
    "GoldReward",
    "load_candidates",
    "load_preferences",
    "make_demo_preferences",
    "make_preference_pairs",
]


class GoldReward:
    r"""A known reward of embeddings, Lipschitz in the Euclidean norm.

    .. math:: r^*(e) = a \, (w_1 \cdot e + c \sin(w_2 \cdot e))

    Parameters
    ----------
    w1 : ndarray of shape (d,)
        Direction of the linear part.
    w2 : ndarray of shape (d,)
        Direction of the periodic part.
    scale : float, default=1.0
        The factor a.
    nonlinearity : float, default=0.0
        The weight c; 0 makes the reward linear.

    Attributes
    ----------
    lipschitz : float
        The supremum of the gradient's norm over all embeddings, ``max |w1 + t w2| * a`` for
        t between -c and c.

    Examples
    --------
    >>> import numpy as np
    >>> from lens_sklearn.datasets import GoldReward
    >>> reward = GoldReward(np.array([1.0, 0.0]), np.array([0.0, 1.0]), scale=2.0)
    >>> reward(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist(), reward.lipschitz
    ([2.0, 6.0], 2.0)
    """

    def __init__(self, w1, w2, scale=1.0, nonlinearity=0.0):
        self.w1 = w1
        self.w2 = w2
        self.scale = scale
        self.nonlinearity = nonlinearity

    @property
    def lipschitz(self):
        """The Lipschitz constant."""
        ends = [np.linalg.norm(self.w1 + t * self.nonlinearity * self.w2) for t in (-1, 1)]
        return float(self.scale * max(ends))

    def __call__(self, X):
        """Return the gold rewards of embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings.

        Returns
        -------
        ndarray of float64, shape (...)
            Their gold rewards.
        """
        X = np.asarray(X, dtype=np.float64)
        return self.scale * (X @ self.w1 + self.nonlinearity * np.sin(X @ self.w2))


@validate_params(
    {
        "n_pairs": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "n_prompts": [Interval(Integral, 1, None, closed="left"), None],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "n_test_prompts": [Interval(Integral, 1, None, closed="left")],
        "n_latent": [Interval(Integral, 1, None, closed="left")],
        "embedding_noise": [Interval(Real, 0, None, closed="left")],
        "reward_scale": [Interval(Real, 0, None, closed="neither")],
        "nonlinearity": [Interval(Real, 0, None, closed="left")],
        "label_noise": [Interval(Real, 0, 1, closed="both")],
        "temperature": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_preference_pairs(
    n_pairs=200,
    n_features=32,
    *,
    n_prompts=None,
    n_candidates=16,
    n_test_prompts=50,
    n_latent=8,
    embedding_noise=0.1,
    reward_scale=1.0,
    nonlinearity=0.0,
    label_noise=0.0,
    temperature=0.0,
    random_state=None,
):
    r"""Make a toy world of preferences with a known gold reward.

    An embedding is a point of a random `n_latent`-dimensional subspace plus isotropic noise.
    Half of the subspace belongs to the prompt and is shared by its responses, half to the
    response; the gold reward grows along one direction of the response's half. So synthesis in
    a low-dimensional latent space has something to find, and prompts differ in a way that
    must not matter.

    Parameters
    ----------
    n_pairs : int, default=200
        Training pairs n.
    n_features : int, default=32
        Dimension d of an embedding.
    n_prompts : int, default=None
        Training prompts; None gives each pair its own.
    n_candidates : int, default=16
        Candidates N of each test prompt.
    n_test_prompts : int, default=50
        Test prompts, none of them a training prompt.
    n_latent : int, default=8
        Dimension of the subspace, at most d.
    embedding_noise : float, default=0.1
        Standard deviation of the isotropic noise; the latents' is 1.
    reward_scale : float, default=1.0
        The factor a of :class:`GoldReward`.
    nonlinearity : float, default=0.0
        The weight c of :class:`GoldReward`; its direction mixes the prompt's and the response's
        halves, so what is good then depends on the prompt.
    label_noise : float, default=0.0
        Probability that a pair's label is flipped, whatever its margin.
    temperature : float, default=0.0
        T of Bradley-Terry labels: before the flips the better response is chosen with
        probability ``1 / (1 + exp(-margin / T))``, always if T is 0.
    random_state : int, RandomState instance or None, default=None
        Draws everything.

    Returns
    -------
    Bunch
        With the attributes

        pairs : ndarray of float32, shape (n_pairs, 2, d)
            Column 0 is the chosen one.
        pair_gold : ndarray of float64, shape (n_pairs, 2)
            Gold rewards of the pairs' members.
        groups : ndarray of int, shape (n_pairs,)
            The pairs' prompts.
        candidates : ndarray of float32, shape (n_test_prompts, n_candidates, d)
            Candidates of the test prompts.
        gold : ndarray of float64, shape (n_test_prompts, n_candidates)
            Their gold rewards.
        reward : GoldReward
            The gold reward, ``(..., d) -> (...)``.
        reward_lipschitz : float
            Its Lipschitz constant.
        basis : ndarray of float64, shape (min(n_latent, d), d)
            Orthonormal basis of the subspace, the response's half first.

    Examples
    --------
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=16, random_state=0)
    >>> toy.pairs.shape, toy.candidates.shape, toy.gold.shape
    ((100, 2, 16), (50, 16, 16), (50, 16))
    >>> bool((toy.pair_gold[:, 0] > toy.pair_gold[:, 1]).all())
    True
    """
    random_state = check_random_state(random_state)
    n_latent = min(n_latent, n_features)
    n_own = -(-n_latent // 2)  # the response's half, never empty
    basis = np.linalg.qr(random_state.normal(size=(n_features, n_latent)))[0].T
    w1 = _unit(random_state.normal(size=n_own)) @ basis[:n_own]
    w2 = _unit(random_state.normal(size=n_latent)) @ basis
    reward = GoldReward(w1, w2, scale=reward_scale, nonlinearity=nonlinearity)

    def embed(prompts, n_responses):  # (p, n_latent - n_own) -> (p, n_responses, d) float32
        shape = (len(prompts), n_responses)
        own = random_state.normal(size=(*shape, n_own)) @ basis[:n_own]
        noise = embedding_noise * random_state.normal(size=(*shape, n_features))
        return (own + (prompts @ basis[n_own:])[:, None] + noise).astype(np.float32)

    n_prompts = n_pairs if n_prompts is None else n_prompts
    groups = np.sort(np.arange(n_pairs) % n_prompts)
    prompts = random_state.normal(size=(n_prompts, n_latent - n_own))
    pairs = embed(prompts[groups], 2)
    pair_gold = reward(pairs)
    first_wins = _labels(pair_gold[:, 0] - pair_gold[:, 1], label_noise, temperature, random_state)
    order = np.where(first_wins[:, None], [0, 1], [1, 0])
    candidates = embed(random_state.normal(size=(n_test_prompts, n_latent - n_own)), n_candidates)
    return Bunch(
        pairs=np.take_along_axis(pairs, order[..., None], axis=1),
        pair_gold=np.take_along_axis(pair_gold, order, axis=1),
        groups=groups,
        candidates=candidates,
        gold=reward(candidates),
        reward=reward,
        reward_lipschitz=reward.lipschitz,
        basis=basis,
    )


def _unit(vector):
    return vector / np.linalg.norm(vector)


def _labels(margin, label_noise, temperature, random_state):
    """Draw whether column 0 is chosen; the draws do not depend on the noise's settings."""
    bradley_terry, flip = random_state.uniform(size=(2, len(margin)))
    if temperature > 0:
        # u < 1 / (1 + exp(-m / T)), written without an exponential that may overflow
        first_wins = margin > temperature * (np.log(bradley_terry) - np.log1p(-bradley_terry))
    else:
        first_wins = margin > 0
    return first_wins ^ (flip < label_noise)


@validate_params(
    {
        "n_pairs": [Interval(Integral, 1, None, closed="left")],
        "n_test_prompts": [Interval(Integral, 1, None, closed="left")],
        "min_margin": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_demo_preferences(n_pairs=240, n_test_prompts=33, *, min_margin=0.1, random_state=None):
    """Make preference and candidate rows from the demo's English sentences.

    The prompts are everyday questions, each with 16 responses put together from sentences that
    were written for this purpose as good, vague, off topic or wrong, in a kind, neutral or curt
    tone. The gold reward is the known value of the parts; the responses have about equal
    lengths. The responses are the same for every seed, the split by prompt and the pairs differ.

    Parameters
    ----------
    n_pairs : int, default=240
        Training pairs, drawn without repetition within the training prompts.
    n_test_prompts : int, default=33
        Prompts held out, at least one and not all.
    min_margin : float, default=0.1
        Pairs whose gold rewards differ by this or less are not drawn.
    random_state : int, RandomState instance or None, default=None
        Draws the split and the pairs.

    Returns
    -------
    Bunch
        With the attributes

        pairs : list of dict
            Rows with ``prompt``, ``chosen``, ``rejected``.
        candidates : list of dict
            Rows with ``prompt``, ``responses`` (16 strings), ``gold`` (16 floats).
        gold : ndarray of float64, shape (n_test_prompts, 16)
            Gold rewards of the candidates.
        groups : ndarray of int, shape (n_pairs,)
            The pairs' prompts.
        pair_index : ndarray of int, shape (n_pairs, 3)
            Prompt, chosen and rejected response of each pair.
        test_index : ndarray of int, shape (n_test_prompts,)
            The held-out prompts.

    Raises
    ------
    ValueError
        If no training prompt is left, or there are fewer such pairs than asked for.

    Examples
    --------
    >>> from lens_sklearn.datasets import make_demo_preferences
    >>> demo = make_demo_preferences(random_state=0)
    >>> sorted(demo.pairs[0]), len(demo.pairs), demo.gold.shape
    (['chosen', 'prompt', 'rejected'], 240, (33, 16))
    """
    random_state = check_random_state(random_state)
    prompts, responses, gold = demo_responses()
    if n_test_prompts >= len(prompts):
        raise ValueError(
            f"n_test_prompts={n_test_prompts} leaves no training prompt: there are {len(prompts)}."
        )
    order = random_state.permutation(len(prompts))
    test, train = np.sort(order[:n_test_prompts]), np.sort(order[n_test_prompts:])
    better = gold[train][:, :, None] - gold[train][:, None, :] > min_margin
    possible = np.argwhere(better)  # (training prompt, chosen, rejected)
    if n_pairs > len(possible):
        raise ValueError(f"n_pairs={n_pairs}, but only {len(possible)} pairs can be drawn.")
    pair_index = possible[random_state.choice(len(possible), size=n_pairs, replace=False)]
    pair_index[:, 0] = train[pair_index[:, 0]]
    return Bunch(
        pairs=[
            {"prompt": prompts[p], "chosen": responses[p, c], "rejected": responses[p, r]}
            for p, c, r in pair_index
        ],
        candidates=[
            {"prompt": prompts[p], "responses": list(responses[p]), "gold": gold[p].tolist()}
            for p in test
        ],
        gold=gold[test],
        groups=pair_index[:, 0].copy(),
        pair_index=pair_index,
        test_index=test,
    )
