"""A clone of alpaca_eval's ``results`` folder: many models' answers to the same prompts.

``results/MODEL/ANNOTATOR/annotations.json`` lists, for each prompt, the reference's answer
(``output_1``), the model's (``output_2``) and the judge's ``preference`` p in [1, 2]: 1 + the
probability that the model's answer is the better one. The gold reward is its log-odds,
``log((p - 1) / (2 - p))``, clipped at ``MAX_LOG_ODDS``.
"""

import json
from collections import defaultdict

import numpy as np

from ._dataset import Dataset
from ._embedding import embed
from ._splits import CandidateData

ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
MAX_LOG_ODDS = 6.9068  # of a probability of 0.001


def load(data, store):
    """Read and embed the folder ``results`` in `data`, or `data` itself."""
    folder = data / "results" if (data / "results").is_dir() else data
    rows = read_results(folder)
    gold = np.array([row["gold"] for row in rows])
    n_test = min(105, len(rows) // 5)
    return CandidateData(embed(rows, store), gold, n_test=n_test)


def read_results(folder, n_candidates=16, annotator=ANNOTATOR, seed=0):
    """Read candidate rows from the annotations of many models.

    Parameters
    ----------
    folder : Path
        With a folder a model.
    n_candidates : int, default=16
        Answers drawn for each prompt; prompts with fewer judged answers are left out.
    annotator : str, default=ANNOTATOR
        The judge, a folder a model.
    seed : int, default=0
        Draws the models of each prompt.

    Returns
    -------
    list of dict
        Rows with ``prompt``, ``responses``, ``gold`` and ``models``, in the order of prompts.

    Raises
    ------
    ValueError
        If no file is found, no prompt has answers enough, or a preference is outside [1, 2].
    """
    files = sorted(folder.glob(f"*/{annotator}/annotations.json"))
    if not files:
        raise ValueError(f"{folder}: no file MODEL/{annotator}/annotations.json is there.")
    answers = defaultdict(dict)  # prompt -> model -> (response, gold)
    for file in files:
        for i, item in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            preference = item["preference"]
            if preference is None or not (item["output_2"] or "").strip():
                continue  # the judge gave no verdict, or there was no answer
            if not 1 <= preference <= 2:
                raise ValueError(f"{file}: item {i}: preference {preference} is not in [1, 2].")
            answer = (item["output_2"], _log_odds(preference - 1))
            answers[item["instruction"]][file.parts[-3]] = answer
    rng = np.random.default_rng(seed)
    rows = []
    for prompt in sorted(answers):
        models = sorted(answers[prompt])
        if len(models) >= n_candidates:
            drawn = [models[i] for i in rng.permutation(len(models))[:n_candidates]]
            responses, gold = zip(*(answers[prompt][model] for model in drawn), strict=True)
            row = {"responses": list(responses), "gold": list(gold), "models": drawn}
            rows.append({"prompt": prompt, **row})
    if not rows:
        raise ValueError(f"{folder}: no prompt has {n_candidates} judged answers.")
    return rows


def _log_odds(probability):
    with np.errstate(divide="ignore"):
        log_odds = np.log(probability) - np.log1p(-probability)
    return float(np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))


DATASETS = [Dataset("alpaca_results", load)]
