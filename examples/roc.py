# ruff: noqa: D100 - the first cell says it.
# %% [markdown]
# # Scores of a run and their ROC curve
#
# Every run leaves the score of each test image in `results/scores`. Here they are read and checked,
# the AUROC of the tables is computed again, and the curve behind it is drawn.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_curve

from osad.evaluation.metrics import auroc
from osad.evaluation.scores import read_scores

CELL = "elpv/all/general-m10/dpdl/s0"
root = next(path for path in (Path.cwd(), *Path.cwd().parents) if (path / "params.yaml").is_file())

# %% [markdown]
# A score is higher the more anomalous the image looks; label 1 is an anomaly.

# %%
images = read_scores(root / f"results/scores/{CELL}.csv")
scores = np.array([image.score for image in images])
labels = np.array([image.label for image in images])
print(f"{len(images)} test images, {labels.sum()} of them anomalous")
print(f"AUROC {auroc(scores, labels):.4f}")

# %% [markdown]
# What of the anomalies is found if 5 % of the normal images may be reported in error?

# %%
false_alarms, found, _ = roc_curve(labels, scores)
print(f"found at 5 % false alarms: {found[false_alarms <= 0.05].max():.3f}")

figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
axes.plot(false_alarms, found)
axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
axes.set(xlabel="false alarms", ylabel="anomalies found", title=CELL)
figure.savefig("roc.svg")
