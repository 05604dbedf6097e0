"""
Where can augmentation help, by equation 35?
============================================

The paper's Theorem 2 says that augmentation lowers the error for N *above* 65.59; its own
equation 35, with its own constants, says *below*. The left panel draws the ratio of the errors
over k, the right one the region of k and N in which it is below 1.

    python docs/examples/plot_theorem2.py [FILE.png]
"""

import sys

import matplotlib.pyplot as plt
import numpy as np

from lens_sklearn.theory import beneficial_region, paper_n0, theorem2_error_ratio, theorem2_rho

# The paper's estimates (B.5.1).
c1, b0, p, d, delta = 0.24, 5.63, 0.26, 4096, 0.05
rho = theorem2_rho(c1, b0, d, delta)
region = beneficial_region(rho=rho, p=p)
n0 = paper_n0(c1, b0, p, d, delta)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")

k = np.geomspace(1, 1000, 400)
for n, color in zip((5, 30, 66, 200, 1000), plt.cm.viridis(np.linspace(0, 0.9, 5)), strict=True):
    left.plot(k, theorem2_error_ratio(k, n, rho=rho, p=p), color=color, label=f"N = {n}")
left.axhline(1, color="k", linewidth=1, linestyle="--")
left.set(
    xscale="log",
    ylim=(0.5, 2.6),
    xlabel="k, augmentation factor",
    ylabel="error with / error without",
    title="Equation 35",
)
left.legend(fontsize="small", ncols=3, loc="upper center")

k, n = np.meshgrid(np.geomspace(1.01, 1000, 300), np.geomspace(1, 10_000, 300))
helps = region.contains(k, n)
right.contourf(k, n, helps, levels=[0.5, 1], colors=["C2"], alpha=0.4)
edge = np.geomspace(1.01, 1000, 300)
right.plot(edge, region.boundary_n(edge), color="C2", label="ratio = 1")
right.axhline(n0, color="k", linestyle="--", label=f"the paper's N₀ = {n0:.2f}")
right.axhline(1000, color="C3", linestyle=":", label="the paper's experiments, N = 1,000")
right.text(30, 6, "helps", color="C2", weight="bold")
right.text(1.2, 150, "the paper: helps from N₀ on\nequation 35: no k helps", fontsize="small")
right.set(
    xscale="log",
    yscale="log",
    xlim=(1.01, 1000),
    ylim=(1, 10_000),
    xlabel="k, augmentation factor",
    ylabel="N, original pairs",
    title="Where the ratio is below 1",
)
right.legend(fontsize="small", loc="upper right")

# %%
# **What to take away.** By its own equation the paper's experiments lie where augmentation cannot
# help. A ratio of upper bounds proves neither a gain nor a loss: measure, beside the controls.

if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=110)
elif plt.isinteractive() or plt.get_backend().lower() != "agg":
    plt.show()
