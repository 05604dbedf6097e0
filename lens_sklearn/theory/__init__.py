"""The paper's theorems as functions, and their constants measured on one's own data.

Bounds
    `noise_radius`, `theorem1_margin_bound`; `theorem2_error_ratio`, `theorem2_limit`,
    `theorem2_rho`, `beneficial_region`, `paper_n0`; `lemma3_bound`.
Distances
    `wasserstein2_gaussian`, `gaussian_kl`, `empirical_wasserstein1`.
Measurements
    `decoder_lipschitz`, `reward_lipschitz`; `estimate_reconstruction_exponent`,
    `estimate_statistical_constant`, `estimate_synthesis_bias`.
Certificates
    `SynthesisCertificate`.
"""

from ._bounds import (
    BeneficialRegion,
    beneficial_region,
    empirical_wasserstein1,
    gaussian_kl,
    lemma3_bound,
    noise_radius,
    paper_n0,
    theorem1_margin_bound,
    theorem2_error_ratio,
    theorem2_limit,
    theorem2_rho,
    wasserstein2_gaussian,
)
from ._certificate import SynthesisCertificate
from ._estimates import (
    ConstantFit,
    PowerLawFit,
    ReconstructionScaling,
    estimate_reconstruction_exponent,
    estimate_statistical_constant,
    estimate_synthesis_bias,
)
from ._lipschitz import LipschitzBounds, decoder_lipschitz, reward_lipschitz

__all__ = [
    "BeneficialRegion",
    "ConstantFit",
    "LipschitzBounds",
    "PowerLawFit",
    "ReconstructionScaling",
    "SynthesisCertificate",
    "beneficial_region",
    "decoder_lipschitz",
    "empirical_wasserstein1",
    "estimate_reconstruction_exponent",
    "estimate_statistical_constant",
    "estimate_synthesis_bias",
    "gaussian_kl",
    "lemma3_bound",
    "noise_radius",
    "paper_n0",
    "reward_lipschitz",
    "theorem1_margin_bound",
    "theorem2_error_ratio",
    "theorem2_limit",
    "theorem2_rho",
    "wasserstein2_gaussian",
]
