"""Distillation: an augmenter's pairs with the soft targets of a teacher."""

from copy import deepcopy
from dataclasses import dataclass, replace
from math import ceil, sqrt
from numbers import Integral, Real

import numpy as np
from scipy.special import expit
from sklearn import config_context
from sklearn.base import _fit_context, clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from ._atomic_fit import atomic_fit
from ._augmented_pairs import AugmentedPairs
from ._augmenters import DifferenceAugmenter, PairAugmenter
from ._base_reward import rewards_of
from ._bt_reward import BTRewardRegressor
from ._device import draw_seed, row_order
from ._gp_reward import GPRewardRegressor
from ._validation import check_response_features, check_training_pairs, check_unlabeled
from ._warnings import warn
from .metrics import pair_agreement

CHUNK = 1024  # pairs rewarded at once: bounds the memory at large d
#: A network cannot follow a teacher that raises norms to a lower power than this.
LEAST_NORM_EXPONENT = 0.8


@dataclass(frozen=True)
class FactorRule:
    """How ``factor="auto"`` chooses between the original pairs and distillation.

    Parameters
    ----------
    n_pairs : float, default=250_000
        Pairs in all, times √d, that make the steps a student needs at 20 epochs: fewer at
        larger d.
    min_pairs : int, default=12_800
        Fewer pairs teach a student how the teacher orders two responses, but not so well which
        of many it picks.
    min_factor : float, default=150
        The least factor, times √d: where many pairs have taught the teacher much, a student
        needs more of them.
    min_factor_range : tuple of int, default=(2, 8)
        What the least factor is clipped to.
    max_factor : int, default=256
        More is not worth its time.
    n_folds : int, default=3
        Folds of the comparison.
    min_originals : int, default=20
        With fewer pairs nothing can be compared, and the originals are kept alone.
    min_prompts : int, default=3
        Nor with fewer prompts: one is left out, and the network of the others needs one to
        learn from and one to stop by.
    n_errors : float, default=2
        By how many standard errors the teacher must do worse than a network of the originals to
        be refused: the interval of 95 %.
    student_from : int, default=1000
        With more originals the student is compared instead of the teacher: errors are then as
        small as what a student loses of its teacher.
    student_errors : float, default=1
        By how many standard errors the student must do worse; the comparison has its loss in it
        already, so fewer are asked for.
    """

    n_pairs: float = 250_000
    min_pairs: int = 12_800
    min_factor: float = 150
    min_factor_range: tuple = (2, 8)
    max_factor: int = 256
    n_folds: int = 3
    min_originals: int = 20
    min_prompts: int = 3
    n_errors: float = 2
    student_from: int = 1000
    student_errors: float = 1

    def factor(self, n, d):
        """Return the factor at which 20 epochs are enough steps to follow a teacher.

        Parameters
        ----------
        n : int
            Original pairs.
        d : int
            Features.

        Returns
        -------
        int
            Pairs to an original pair.
        """
        least = np.clip(self.min_factor / sqrt(d), *self.min_factor_range)
        wanted = max(self.min_pairs, self.n_pairs / sqrt(d))
        return ceil(np.clip(wanted / n, least, self.max_factor))

    def compares_students(self, n):
        """Whether students are compared instead of their teacher, at n original pairs."""
        return n > self.student_from

    def refuses(self, agreement):
        """Whether distillation did worse on held-out pairs than can be chance.

        Parameters
        ----------
        agreement : ndarray, shape (2, n)
            How far each held-out pair is ordered as its target says, in [0, 1]: by a network of
            the original pairs, and by what is distilled.

        Returns
        -------
        bool
            True if the original pairs are better alone.
        """
        n = agreement.shape[1]
        loss = agreement[0] - agreement[1]
        errors = self.student_errors if self.compares_students(n) else self.n_errors
        return bool(loss.mean() > errors * loss.std(ddof=1) / sqrt(n))


RULE = FactorRule()


class DistillationAugmenter(PairAugmenter):
    r"""Augment pairs, and give all of them the soft targets of a teacher.

    A teacher is fitted on the original pairs, an augmenter makes further pairs, and the target
    of every pair, original or synthetic, becomes the teacher's probability

    .. math:: t = \sigma\big((r(e_0) - r(e_1)) / T\big)

    with the temperature T. A student trained on them, say a :class:`BTRewardRegressor`, follows
    the teacher at the price of a network, and averages over more pairs than anybody judged.

    Parameters
    ----------
    augmenter : augmenter, default=None
        Makes the synthetic pairs: :class:`LatentPairAugmenter`, :class:`DifferenceAugmenter` or
        a control; it is cloned, its factor, seed and response features are this one's. None is
        ``DifferenceAugmenter()``, or, where `fit_transform` is given unlabelled responses, pairs
        of two responses to the same prompt.
    teacher : estimator, default=None
        Reward model; it is cloned. None is ``GPRewardRegressor()``. Another estimator needs
        ``fit(pairs, targets)`` and rewards of embeddings by ``predict`` or ``coef_``. It gets
        `groups` and `unlabeled` as scikit-learn's metadata routing says.
    temperature : float, default=1/3
        T. Below 1 it sharpens the probabilities of a teacher that has seen few pairs, so that
        less training is needed to follow it.
    factor : int or "auto", default="auto"
        Pairs returned for each original pair, the original included. "auto" is as many as 20
        epochs need to follow the teacher, or 1, the original pairs with their own targets, if
        the teacher does worse on held-out original pairs than a network trained on the others:
        by more than two standard errors in three folds that keep `groups` whole. With more than
        1,000 original pairs the student is compared, and one standard error is enough. Fewer
        than 20 pairs or 3 prompts get 1.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`), which the
        augmenter carries along as its own parameter of this name says; the teacher and pairs of
        unlabelled responses have both views.
    random_state : int, RandomState instance or None, default=None
        Seeds the folds' networks, a teacher that has no seed of its own, and the augmenter.

    Attributes
    ----------
    teacher_ : estimator
        The fitted teacher, unless `factor_` is 1.
    augmenter_ : augmenter
        The fitted augmenter, unless unlabelled responses are paired or `factor_` is 1.
    factor_ : int
        The factor in force.
    factor_scores_ : dict of int to float
        Under ``factor="auto"`` the held-out accuracy without distillation (1) and with it.
    n_features_in_ : int
        d.

    See Also
    --------
    GPRewardRegressor : The default teacher, a reward by itself.
    BTRewardRegressor : The student.

    References
    ----------
    G. Hinton, O. Vinyals and J. Dean, "Distilling the knowledge in a neural network", 2015.

    Examples
    --------
    >>> from lens_sklearn import DistillationAugmenter
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> pairs = make_preference_pairs(n_pairs=64, n_features=8, random_state=0).pairs
    >>> DistillationAugmenter(factor=4, random_state=0).fit_transform(pairs)
    AugmentedPairs(shape=(256, 2, 8), n_originals=64, n_synthetic=192)
    """

    fitted_state_names = (
        "n_features_in_", "teacher_", "augmenter_", "factor_", "factor_scores_"
    )  # fmt: skip
    optional_state_names = ("teacher_", "augmenter_", "factor_scores_")

    _parameter_constraints = {
        "augmenter": [PairAugmenter, None],
        "teacher": [HasMethods(["fit"]), None],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "factor": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_response_features": PairAugmenter._parameter_constraints["n_response_features"],
        "random_state": ["random_state"],
    }

    # Asked for by itself: the folds keep prompts whole, and unlabelled responses are paired.
    __metadata_request__fit = {"groups": True, "unlabeled": True}

    def __init__(
        self,
        augmenter=None,
        teacher=None,
        *,
        temperature=1 / 3,
        factor="auto",
        n_response_features=0,
        random_state=None,
    ):
        self.augmenter = augmenter
        self.teacher = teacher
        self.temperature = temperature
        self.factor = factor
        self.n_response_features = n_response_features
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    @atomic_fit
    def fit(self, X, y=None, *, unlabeled=None, groups=None):
        """Fit the teacher and the augmenter.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs the probability that column 0 wins; embeddings of shape (n, d) are
            paired within `groups` by its order.
        unlabeled : array-like of shape (m, N, d), optional
            As in `fit_transform`.
        groups : array-like of shape (n,), optional
            As in `fit_transform`.

        Returns
        -------
        DistillationAugmenter
            Itself, fitted.
        """
        self._distill(X, y, unlabeled, groups)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    @atomic_fit
    def fit_transform(self, X, y=None, *, unlabeled=None, groups=None):
        """Fit and return the augmented pairs with the teacher's targets.

        .. note::
            This is not ``fit(X).transform(X)``: `transform` returns its input as it is, so
            that a Pipeline augments what it trains on and nothing that it predicts or scores.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs the probability that column 0 wins (default 1). Embeddings of shape
            (n, d) are paired within `groups` by its order.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, N to a prompt, all-NaN ones being padding. Without an
            `augmenter` the synthetic pairs are two of a prompt's each; a teacher that requests
            them learns from them as well. A Pipeline hands them on with metadata routing and
            ``transform_input=["unlabeled"]``.
        groups : array-like of shape (n,), optional
            Prompts of the pairs, kept whole in the folds of ``factor="auto"`` and given to a
            teacher that requests them. Default: each pair has its own.

        Returns
        -------
        AugmentedPairs of shape (``factor_`` * n, 2, d)
            The n originals first, then the synthetic pairs.

        Raises
        ------
        ValueError
            If `n_response_features` leaves no column to the embedding, or is another number than
            the augmenter's; if unlabelled responses have another shape or d, no prompt has two of
            them, nothing learns from them, or a teacher's first steps would not transform them.
        sklearn.exceptions.UnsetMetadataPassedError
            If a step of the teacher neither requests nor refuses what it is given.

        Warns
        -----
        UserWarning
            If norms of embeddings vary so much that the teacher evens them out; if
            ``factor="auto"`` has too few pairs to compare anything.
        """
        return self._distill(X, y, unlabeled, groups)

    def augment(self, X, y=None, *, unlabeled=None):
        """Augment pairs by what was learnt before.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            As in `fit_transform`.
        unlabeled : array-like of shape (m, N, d), optional
            Responses to be paired, if `fit_transform` paired such.

        Returns
        -------
        AugmentedPairs of shape (``factor_`` * n, 2, d)
            For the pairs of `fit_transform` what that returned.

        Raises
        ------
        ValueError
            If unlabelled responses are given and `fit_transform` paired none, or the reverse.
        """
        check_is_fitted(self)
        whole = self._check_originals(X, y, reset=False)
        if (unlabeled is None) != hasattr(self, "augmenter_") and self.factor_ > 1:
            raise ValueError(
                "fit_transform paired unlabelled responses: give unlabeled= here too."
                if unlabeled is None
                else "fit_transform took pairs from an augmenter: unlabeled has no effect here."
            )
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)
        pairs = whole.compact()
        return self._augment(pairs, deepcopy(self._random_state), unlabeled).among(whole)

    def get_metadata_routing(self):
        """Return who is given which metadata.

        Returns
        -------
        MetadataRouter
            This augmenter takes `groups` and `unlabeled`; the teacher takes what it requests.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        mapping = mapping.add(caller="fit_transform", callee="fit")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(teacher=self._new_teacher(), method_mapping=mapping)

    def _distill(self, X, y, unlabeled, groups):
        """Fit all parts and return the pairs with their targets."""
        if isinstance(X, AugmentedPairs):
            self._check_originals(X, y, reset=True)
        if isinstance(self.augmenter, DistillationAugmenter):
            raise ValueError("augmenter is a distillation itself; give what makes its pairs.")
        of_augmenter = getattr(self.augmenter, "n_response_features", 0)
        if of_augmenter not in (0, self.n_response_features):
            raise ValueError(
                f"the augmenter's n_response_features={of_augmenter} has no effect beside "
                f"n_response_features={self.n_response_features} of the distillation; set it there."
            )
        for name in {"teacher_", "augmenter_", "factor_scores_"} & set(vars(self)):
            delattr(self, name)  # of an earlier fit
        has_groups = groups is not None
        pairs, groups = check_training_pairs(self, X, y, groups=groups)
        check_response_features(self.n_response_features, pairs.shape[-1])
        whole = replace(pairs, has_targets=y is not None)
        pairs, groups = whole.compact(), groups[whole.parent]
        metadata = {"groups": groups} if has_groups else {}
        if unlabeled is not None:
            metadata["unlabeled"] = unlabeled = check_unlabeled(self, unlabeled)
            self._check_unlabeled_is_used(metadata)
        random_state = check_random_state(self.random_state)
        self.factor_ = self.factor
        if self.factor == "auto":
            self.factor_ = self._choose_factor(pairs, groups, metadata, draw_seed(random_state))
        teacher_seed = draw_seed(random_state)
        self._random_state = deepcopy(random_state)  # for `augment`
        if self.factor_ == 1:
            return whole
        self.teacher_ = self._fit_teacher(pairs, metadata, teacher_seed)
        return self._augment(pairs, random_state, unlabeled, learn=True).among(whole)

    def _augment(self, pairs, random_state, unlabeled=None, learn=False):
        if self.factor_ == 1:
            return pairs
        if unlabeled is not None and self.augmenter is None:
            augmented = _pair_unlabeled(pairs, unlabeled, self.factor_, random_state)
        elif learn:
            augmenter = DifferenceAugmenter() if self.augmenter is None else clone(self.augmenter)
            augmenter.set_params(factor=self.factor_)
            names = augmenter.get_params(deep=False)
            if "n_response_features" in names:
                augmenter.set_params(n_response_features=self.n_response_features)
            if "random_state" in names:
                augmenter.set_params(random_state=random_state)
            augmented = augmenter.fit_transform(pairs.originals, pairs.target)
            # It keeps the state that it drew from, and no generator among its parameters.
            if "random_state" in names:
                augmenter.set_params(random_state=self.random_state)
            self.augmenter_ = augmenter
        else:
            augmented = self.augmenter_.augment(pairs.originals, pairs.target)
        return self._give_targets(augmented)

    def _give_targets(self, augmented):
        """Replace the targets of pairs by the teacher's probabilities."""
        target = np.empty(len(augmented), dtype=np.float32)
        for chunk in gen_batches(len(augmented), CHUNK):
            rewards = rewards_of(self.teacher_, augmented.rows(np.arange(len(augmented))[chunk]))
            target[chunk] = expit((rewards[:, 0] - rewards[:, 1]) / self.temperature)
        return replace(augmented, target=target, has_targets=True)

    def _new_teacher(self):
        if self.teacher is None:
            return GPRewardRegressor(n_response_features=self.n_response_features)
        return self.teacher

    def _route(self, metadata):
        """Return the metadata of the teacher's fit."""
        if not metadata:
            return {}
        return dict(process_routing(self, "fit", **metadata).teacher.fit)

    def _check_unlabeled_is_used(self, metadata):
        if self.augmenter is not None and "unlabeled" not in self._route(metadata):
            raise ValueError(
                f"unlabeled has no effect: the pairs come from {type(self.augmenter).__name__}, "
                f"and a {type(self._new_teacher()).__name__} does not learn from responses "
                "without labels. Leave augmenter out, or take GPRewardRegressor as the teacher."
            )

    def _fit_teacher(self, pairs, metadata, seed):
        teacher = clone(self._new_teacher(), safe=False)
        self._seed(teacher, seed)
        order = row_order(pairs.originals)
        routed = self._route(metadata)
        if "unlabeled" in routed and isinstance(teacher, Pipeline) and len(teacher) > 1:
            if "unlabeled" not in (teacher.transform_input or ()):
                raise ValueError(
                    "the teacher's last step would get unlabelled responses that its other steps "
                    'have not transformed; make it Pipeline(..., transform_input=["unlabeled"]).'
                )
        if "groups" in routed:
            routed["groups"] = routed["groups"][order]
        with config_context(enable_metadata_routing=True):
            teacher.fit(pairs.originals[order], pairs.target[order], **routed)
        whitening = getattr(teacher, "whitening_", None)
        if getattr(whitening, "norm_exponent", 1) < LEAST_NORM_EXPONENT:
            warn(
                "the norms of the embeddings vary far more than those of a language model's; the "
                "teacher evens them out, and a network that is to follow it must as well. Put "
                "WithinPromptWhitening(0, covariance_exponent=0) in a Pipeline before this step: "
                "it standardises and evens out norms."
            )
        return teacher

    def _choose_factor(self, pairs, groups, metadata, seed, rule=RULE):
        n, _, d = pairs.shape
        n_prompts = len(np.unique(groups))
        n_folds = min(rule.n_folds, n_prompts)
        self.factor_scores_ = {}
        if n < rule.min_originals or n_prompts < rule.min_prompts:
            warn(
                f"{n} pairs of {n_prompts} prompts are too few to compare a teacher with them "
                f"({rule.min_originals} pairs of {rule.min_prompts} prompts are needed): they are "
                "returned alone. Set factor to a number to distil all the same."
            )
            return 1
        factor = rule.factor(n, d)
        agreement = np.empty((2, n))  # of a network on the originals, and of what is distilled
        for train, test in GroupKFold(n_folds).split(agreement[0], groups=groups):
            fold = AugmentedPairs(pairs.originals[train], target=pairs.target[train])
            fold_metadata = dict(metadata)
            if "groups" in metadata:
                fold_metadata["groups"] = groups[train]
            baseline = BTRewardRegressor(random_state=seed).fit(fold, groups=groups[train])
            if rule.compares_students(n):
                distilled = clone(self).set_params(factor=factor, random_state=seed)
                student = distilled.fit_transform(fold.originals, fold.target, **fold_metadata)
                other = BTRewardRegressor(random_state=seed).fit(student, groups=groups[train])
            else:
                other = self._fit_teacher(fold, fold_metadata, seed)
            for row, reward in zip(agreement, (baseline, other), strict=True):
                rewards = rewards_of(reward, pairs.originals[test])
                row[test] = pair_agreement(rewards, pairs.target[test])
        scores = agreement.mean(axis=1).tolist()
        self.factor_scores_ = {1: scores[0], factor: scores[1]}
        return 1 if rule.refuses(agreement) else factor


def _pair_unlabeled(pairs, unlabeled, factor, random_state):
    """Add pairs of two responses to the same prompt, drawn from those without labels."""
    n, (_, n_responses, d) = len(pairs), unlabeled.shape
    usable = ~np.isnan(unlabeled[:, :, 0])
    prompts = np.flatnonzero(usable.sum(axis=1) >= 2)
    generator = np.random.default_rng(draw_seed(random_state))
    # Drawn for the originals in the order of their bytes, so that each keeps its children.
    place = np.argsort(row_order(pairs.originals))
    prompt = prompts[generator.integers(len(prompts), size=(factor - 1, n))][:, place].ravel()
    drawn = generator.random((factor - 1, n, n_responses))[:, place].reshape(-1, n_responses)
    drawn = np.where(usable[prompt], drawn, 2)
    two = np.argpartition(drawn, 1, axis=1)[:, :2]  # padding, at 2, comes last
    members = 2 * n + n_responses * prompt[:, None] + two
    return pairs.add(unlabeled.reshape(-1, d), members)
