"""Pictures of results, in the manner of scikit-learn's displays.

A display holds numbers as attributes; ``from_estimator`` and its kin compute them and draw,
``plot`` draws again. Colors are told apart by color-blind readers, line styles and markers in
gray. matplotlib is imported when something is drawn, never before.
"""

from ._ablation import AblationDisplay
from ._best_of_n import BestOfNComparisonDisplay, BestOfNDisplay, MeanCurve
from ._best_of_n import mean_curve as mean_curve
from ._best_of_n import save_curves as save_curves
from ._calibration import PairCalibrationDisplay
from ._comparison import ComparisonDisplay
from ._comparison import comparison_axes as comparison_axes
from ._comparison import save_comparison as save_comparison
from ._data_multiplier import DataMultiplierDisplay
from ._feature_weights import FeatureWeightsDisplay
from ._latent_space import LatentSpaceDisplay
from ._reward_length import RewardLengthDisplay
from ._style import axes_or_new as axes_or_new
from ._style import load_matplotlib as load_matplotlib
from ._style import series_styles as series_styles
from ._training_history import TrainingHistoryDisplay

__all__ = [
    "AblationDisplay",
    "BestOfNComparisonDisplay",
    "BestOfNDisplay",
    "ComparisonDisplay",
    "DataMultiplierDisplay",
    "FeatureWeightsDisplay",
    "LatentSpaceDisplay",
    "MeanCurve",
    "PairCalibrationDisplay",
    "RewardLengthDisplay",
    "TrainingHistoryDisplay",
]
