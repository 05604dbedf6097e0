"""Preference data and reward models in text space: the systems that LENS is compared with.

Generation
    `ResponseGenerator`.
Labelling, by the protocol `PairLabeller`
    `RewardModelLabeller`, `RewardLabeller`, `SelfRewardingLabeller`, `SelfEvolvedLabeller`,
    `ImplicitPreferenceLabeller`.
Reward models
    `FineTunedRewardRegressor`; `RejectionSampler` makes rows for supervised fine-tuning of
    their picks.
Servers that speak OpenAI's protocol, extra ``server``
    `ServerGenerator`, `ServerJudge`, `ServerEmbedder`.
Synthesis, a step before the embedder
    `TextPairSynthesizer`, whose rows are `AugmentedRows`.

Needs the extra ``textual``: ``pip install "lens-sklearn[textual]"``.
"""

from .._augmented_rows import AugmentedRows
from ._fine_tuned import FineTunedRewardRegressor
from ._generator import ResponseGenerator
from ._implicit import ImplicitPreferenceLabeller
from ._labelling import PairLabeller
from ._rejection import RejectionSampler
from ._reward_labeller import RewardLabeller
from ._reward_model_labeller import RewardModelLabeller
from ._self_evolved import SelfEvolvedLabeller
from ._self_rewarding import SelfRewardingLabeller
from ._server_embedder import ServerEmbedder
from ._server_generator import ServerGenerator
from ._server_judge import ServerJudge
from ._synthesizer import TextPairSynthesizer

__all__ = [
    "AugmentedRows",
    "FineTunedRewardRegressor",
    "RewardModelLabeller",
    "ImplicitPreferenceLabeller",
    "PairLabeller",
    "RejectionSampler",
    "ResponseGenerator",
    "RewardLabeller",
    "SelfEvolvedLabeller",
    "SelfRewardingLabeller",
    "ServerEmbedder",
    "ServerGenerator",
    "ServerJudge",
    "TextPairSynthesizer",
]
