"""
Is a small language model a judge of my responses?
==================================================

A *judge* is a language model that is asked how good a response is. It costs nothing to ask, so
measure what it is worth before its labels train a reward. SmolLM2 with 135 million weights is the
judge here: it comes with the extra ``smollm2``, and runs on a CPU.

This page was built without running the script, since that model needs a C++ compiler to install.
It takes half a minute on two cores.
"""

# %%
# Responses whose worth is known, their *gold* rewards: 4 each to 12 prompts, of the sentences that
# come with the library.
from lens_sklearn.datasets import make_demo_preferences

demo = make_demo_preferences(n_test_prompts=12, random_state=0)
candidates = [row | {"responses": row["responses"][:4]} for row in demo.candidates]
gold = demo.gold[:, :4]

# %%
# Two ways to ask. :class:`~lens_sklearn.textual.SelfRewardingLabeller` asks for a rating from 1
# to 5, :class:`~lens_sklearn.textual.ImplicitPreferenceLabeller` whether the response is good.
# Both read the probabilities of the next token, so the judge may not be able to write a word of
# what it is asked for.
from lens_sklearn.textual import (
    ImplicitPreferenceLabeller,
    SelfRewardingLabeller,
    report_labeller,
)

rating = SelfRewardingLabeller("smollm2", show_progress=False)
print(rating.rendered([candidates[0]["prompt"]], [candidates[0]["responses"][:1]])[0])

# %%
# The report has a row for the judge, and one for the longest response: whoever is no better knows
# nothing but length.
yes = ImplicitPreferenceLabeller("smollm2", show_progress=False)
for judge in (rating, yes):
    print(report_labeller(judge, candidates, gold), end="\n\n")

# %%
# What to take away: look at ``beyond longest`` and its interval. Where that holds 0, the labels
# of this judge teach a reward nothing that the length of a response does not say; take a larger
# judge, by its name or :class:`on a server <lens_sklearn.textual.ServerJudge>`.
