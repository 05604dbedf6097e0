"""Preference data and reward models in text space: the systems that LENS is compared with.

Generation
    `ResponseGenerator`.
Labelling, by the protocol `PairLabeller`
    `FunctionLabeller` of any function,
    `RubricLabeller`, which reasons before it scores,
    `RewardModelLabeller`, `RewardLabeller`, `SelfRewardingLabeller`, `SelfEvolvedLabeller`,
    `ImplicitPreferenceLabeller`.
    `report_labeller` says what one is worth.
Reward models
    `FineTunedRewardRegressor`; `RejectionSampler` makes rows for supervised fine-tuning of
    their picks.
Servers that speak OpenAI's protocol, extra ``server``
    `ServerGenerator`, `ServerJudge`, `ServerEmbedder`.
Synthesis, a step before the embedder
    `TextPairSynthesizer`, whose rows are `AugmentedRows`.
Memory
    `release_networks`, `keep_networks`.

Needs the extra ``textual``: ``pip install "lens-sklearn[textual]"``.
"""

from .._augmented_rows import AugmentedRows
from ._fine_tuned import FineTunedRewardRegressor
from ._function_labeller import FunctionLabeller
from ._generator import ResponseGenerator
from ._implicit import ImplicitPreferenceLabeller
from ._kept_networks import keep_networks, release_networks
from ._labeller_report import LabellerReport, report_labeller
from ._labelling import PairLabeller
from ._rejection import RejectionSampler
from ._reward_labeller import RewardLabeller
from ._reward_model_labeller import RewardModelLabeller
from ._rubric import RubricLabeller
from ._self_evolved import SelfEvolvedLabeller
from ._self_rewarding import SelfRewardingLabeller
from ._server_embedder import ServerEmbedder
from ._server_generator import ServerGenerator
from ._server_judge import ServerJudge
from ._synthesizer import TextPairSynthesizer

__all__ = [
    "AugmentedRows",
    "FineTunedRewardRegressor",
    "FunctionLabeller",
    "RewardModelLabeller",
    "ImplicitPreferenceLabeller",
    "LabellerReport",
    "PairLabeller",
    "RejectionSampler",
    "ResponseGenerator",
    "RewardLabeller",
    "RubricLabeller",
    "SelfEvolvedLabeller",
    "SelfRewardingLabeller",
    "ServerEmbedder",
    "ServerGenerator",
    "ServerJudge",
    "TextPairSynthesizer",
    "keep_networks",
    "release_networks",
    "report_labeller",
]
