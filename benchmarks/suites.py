"""What is run on what: the learning curves and the paper's tables and figures.

Number of splits and settings are chosen by the methods' measured cost (``results/README.md``):
the curves of one dataset take two to thirteen hours on two cores.
"""

from typing import NamedTuple

from .datasets.blocks import BLOCKS
from .datasets.lsa import TERMS
from .methods import BASELINES, METHODS, ORIGINAL, leads, ours
from .methods.ablations import BETAS, GAMMAS, NOISE_VARIANCES

SIZES = (50, 100, 200, 300, 500, 1000, 2000, 5000)
HH_SIZES = (50, 100, 200, 300, 500, 850)  # 856 training pairs are there
CURVE_METHODS = (
    ORIGINAL,
    "steps 4x",
    "repeat 4x",
    *BASELINES,
    "direct noise 4x",
    "Gaussian 4x",
    "LENS 2x",
    "LENS 4x",
    "LENS 8x",
    "LENS 4x, zero output",
    "repeat 4x, zero output, filtered",
    "repeat 4x, zero output, filtered, five",
    *ours.METHODS,
)
PROCESSES = ("Gaussian process", "Gaussian process, cautious")
PROCESSES_UNLABELLED = tuple(f"{process}, unlabelled" for process in PROCESSES)
#: The preset and its process, with unlabelled responses and without.
OURS = ("ours", "ours, unlabelled", PROCESSES[1], PROCESSES_UNLABELLED[1])
#: Un-augmented models that take seconds.
QUICK_CONTROLS = ("tuned linear", "original, zero output", "repeat 4x, zero output, five")


class Cell(NamedTuple):
    """One setting: methods on splits 0 to n_splits - 1 of a dataset at N pairs."""

    dataset: str
    n_pairs: int
    n_splits: int
    methods: tuple


def n_splits(n_pairs):
    """Return the splits that a claim needs: 20 up to N = 500, 8 beyond."""
    return 20 if n_pairs <= 500 else 8


def curves():
    """Every method at every size on all three embedding sets.

    But for the dearest variants: of LENS beyond 1,000 pairs only 4x, and of the preset five
    networks where the target is, at d = 384 up to N = 300.
    """
    sizes = {"alpaca_384": SIZES, "alpaca_3840": SIZES, "hh_3840": HH_SIZES}
    five = {("alpaca_384", n) for n in (50, 100, 200, 300)}

    def wanted(name, n):
        left_out = () if n <= 1000 else ("LENS 2x", "LENS 8x")
        if (name, n) not in five:
            left_out += ("ours, five", "ours, unlabelled, five")
        return tuple(m for m in CURVE_METHODS if m not in left_out)

    return [
        Cell(name, n, n_splits(n), wanted(name, n)) for name, all_n in sizes.items() for n in all_n
    ]


def headline():
    """What the targets are read off, on all three sets: within three hours on two cores."""
    pairs_alone = (ORIGINAL, *BASELINES, "LENS 4x", "ours", *PROCESSES)
    unlabelled = ("ours, unlabelled", *PROCESSES_UNLABELLED)
    return [
        *(
            Cell("alpaca_384", n, n_splits(n), (*pairs_alone, *unlabelled))
            for n in SIZES
            if n <= 1000
        ),
        *(
            Cell("alpaca_3840", n, n_splits(n), (*pairs_alone, *PROCESSES_UNLABELLED))
            for n in (100, 200, 300)
        ),
        Cell("alpaca_3840", 500, n_splits(500), BASELINES),  # what N = 100 to 300 may be worth
        *(Cell("hh_3840", n, n_splits(n), pairs_alone) for n in (100, 300)),
    ]


def why():
    """Why LENS falls short of repeated pairs, and repairs of it."""
    controls = ("original, zero output", "repeat 4x, zero output")
    most = (*controls, "repeat 4x, zero output, five", *leads.METHODS)
    probed = ("LENS 4x, probed", "LENS 4x, autoencoder at 1e-3")
    return [
        Cell("alpaca_384", 100, 20, most),
        Cell("alpaca_384", 200, 20, most),
        Cell("alpaca_3840", 200, 10, most),
        Cell("hh_3840", 200, 10, most),
        Cell("alpaca_384", 1000, 8, (*controls, *probed)),
        Cell("alpaca_3840", 1000, 8, (*controls, *probed)),
    ]


def blocks():
    """Embeddings that no setting was chosen on: each layer and pooling alone, but the last mean.

    That one is ``alpaca_384``, and ``hh_layer6`` is its like.
    """
    process = (*PROCESSES, *PROCESSES_UNLABELLED)
    others = [block for block in BLOCKS if block != "layer6"]
    return [
        *(
            Cell(f"alpaca_{block}", n, 8, (*QUICK_CONTROLS, *process, "ours", "ours, unlabelled"))
            for n in (100, 300)
            for block in others
        ),
        *(Cell(f"hh_{block}", 300, 8, (*QUICK_CONTROLS, *process, "ours")) for block in others),
    ]


def lsa():
    """Embeddings of another kind, which no language model made."""
    methods = (*BASELINES, *PROCESSES, "ours")
    unlabelled = (*PROCESSES_UNLABELLED, "ours, unlabelled")
    return [
        *(Cell(f"alpaca_{t}", n, 8, (*methods, *unlabelled)) for n in (100, 300) for t in TERMS),
        *(Cell(f"hh_{terms}", 300, 8, methods) for terms in TERMS),
    ]


def text():
    """From texts to picks, through ``LLMEmbedder``: the mean of each layer of MiniLM, d = 2688."""
    return [Cell("alpaca_text", n, 8, (*QUICK_CONTROLS, *OURS)) for n in (100, 300)]


def mpnet():
    """Learning curves on embeddings of another language model, on which no setting was found."""
    return [
        *(Cell("alpaca_mpnet", n, n_splits(n), (*BASELINES, *OURS)) for n in (100, 200, 300)),
        *(Cell("alpaca_mpnet", n, n_splits(n), BASELINES) for n in (500, 1000)),  # the yardstick
    ]


def quick():
    """Every method at one or two sizes, in less than five minutes on two cores.

    But for what takes longest at d = 3840: unlabelled responses, and the mean of five networks
    where it is no baseline.
    """
    long = {m for m in CURVE_METHODS if m.endswith((", five", "unlabelled")) and m not in BASELINES}
    return [
        Cell("alpaca_384", 100, 2, CURVE_METHODS),
        Cell("alpaca_384", 200, 2, CURVE_METHODS),
        Cell("alpaca_3840", 100, 2, tuple(m for m in CURVE_METHODS if m not in long)),
    ]


def table1():
    """The latent half of Table 1: every augmentation at 2x, 4x and 8x."""
    kinds = ("repeat", "direct noise", "Gaussian", "LENS")
    methods = (ORIGINAL, *(f"{kind} {k}x" for kind in kinds for k in (2, 4, 8)))
    return _paper(methods)


def table2():
    """Time and parameters at 8x."""
    return [Cell("alpaca_3840", 1000, 3, (ORIGINAL, "LENS 8x, timed"))]


def table5():
    """What chosen and rejected share."""
    shared = ("LENS 4x", "LENS 4x, sharing=none", "LENS 4x, sharing=all")
    return _paper((ORIGINAL, *shared))


def figure2():
    """The divergence's weight, the noise and the number of pairs."""
    one_changed = [f"LENS 4x, γ={g:g}" for g in GAMMAS]
    one_changed += [f"LENS 4x, σ²={v:g}" for v in NOISE_VARIANCES]
    methods = (ORIGINAL, "LENS 4x", *(m for m in one_changed if m in METHODS))
    few = (ORIGINAL, "steps 4x", "LENS 4x")
    return _paper(methods) + [
        Cell(name, n, splits, few)
        for name, n, splits in (
            ("alpaca_384", 100, 10),
            ("alpaca_384", 500, 5),
            ("alpaca_384", 1000, 5),
            ("alpaca_384", 2000, 3),
            ("alpaca_3840", 100, 5),
            ("alpaca_3840", 500, 3),
        )
    ]


def figure3():
    """Maps of the latents."""
    return [Cell("alpaca_3840", 1000, 1, tuple(f"LENS latents, γ={g:g}" for g in GAMMAS))]


def figure4():
    """The KL term's weight; original pairs, synthetic pairs or both."""
    betas = tuple(f"LENS 4x, β={b:g}" for b in BETAS if b != 1)
    return _paper((ORIGINAL, "steps 4x", "LENS 4x", "LENS 4x, synthetic only", *betas))


def _paper(methods):
    return [
        Cell("alpaca_384", 200, 10, methods),
        Cell("alpaca_3840", 200, 5, methods),
        Cell("alpaca_3840", 1000, 3, methods),
    ]


SUITES = {
    "curves": curves,
    "headline": headline,
    "why": why,
    "blocks": blocks,
    "lsa": lsa,
    "text": text,
    "mpnet": mpnet,
    "table1": table1,
    "table2": table2,
    "table5": table5,
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
}
