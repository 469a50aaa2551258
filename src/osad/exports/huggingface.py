"""Means over seeds as evaluation results of Hugging Face, one folder a method.

``README.md`` has them as the model index of a model card, which may name any data set.
``.eval_results/osad.yaml`` has them as results of a benchmark, which must be a data set on the Hub,
so that it is written of data sets whose name there is given.
"""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from osad.core.errors import ConfigError
from osad.core.files import write_text
from osad.core.lazy import lazy
from osad.exports.numbers import EXPLAIN, Numbers
from osad.methods import registry

if TYPE_CHECKING:
    import huggingface_hub
    import pandas as pd
else:
    huggingface_hub = lazy("huggingface_hub")

TASK = "image-classification"
"""The nearest of the Hub's tasks; it has none of anomaly detection in images."""
METRIC = "roc_auc"
CARD = """---
{header}
---

# {title}

Image-level AUROC, each the mean over the seeds named in its `args`, which also hold the SHA-256 of
the scores and of the split of every run. From a number to all that it was made of, in a clone of
the benchmark:

    {explain}

Method: {paper}
"""


def hub_names(texts: Sequence[str]) -> dict[str, str]:
    """Parse ``NAME=OWNER/REPOSITORY``: the data set on the Hub that one of ours is.

    Raises:
        ConfigError: a text has another form.
    """
    found = {}
    for text in texts:
        match = re.fullmatch(r"([a-z0-9_]+)=([\w.-]+/[\w.-]+)", text)
        if not match:
            raise ConfigError(f"--hub-dataset {text}: expected NAME=OWNER/REPOSITORY")
        found[match[1]] = match[2]
    return found


def write(numbers: Numbers, folder: Path, hub: Mapping[str, str]) -> None:
    """Write the folders of all methods.

    Args:
        numbers: what is exported.
        folder: to write to.
        hub: names on the Hub by data set; others are named as here in the card alone.

    Raises:
        ConfigError: a data set with a name on the Hub is not among the exported ones.
        DataError: no cell has an AUROC.
    """
    done = numbers.done()
    for name in hub:
        if name not in set(done.dataset):
            raise ConfigError(f"--hub-dataset {name}: no exported cell is of it")
    means = done.groupby(["method", done.cell.str.rpartition("/")[0]], sort=False)
    results: dict[str, list[huggingface_hub.EvalResult]] = defaultdict(list)
    entries: dict[str, list[huggingface_hub.EvalResultEntry]] = defaultdict(list)
    first: dict[str, str] = {}
    for (method, mean), runs in means:
        first.setdefault(method, mean)
        results[method].append(_result(numbers, mean, runs, hub))
        if (dataset := mean.partition("/")[0]) in hub:
            entries[method].append(_entry(numbers, mean, runs, hub[dataset]))
    for method, of_method in results.items():
        spec = registry.get(method)
        data = huggingface_hub.ModelCardData(model_name=f"osad/{method}", eval_results=of_method)
        text = CARD.format(
            header=data.to_yaml().strip(), title=spec.title, paper=spec.paper,
            explain=EXPLAIN.format(commit=numbers.commit.partition(" ")[0], cell=first[method]),
        )  # fmt: skip
        write_text(folder / method / "README.md", text)
    for method, listed in entries.items():
        plain = huggingface_hub.eval_result_entries_to_yaml(listed)
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        write_text(folder / method / ".eval_results/osad.yaml", text)


def _result(
    numbers: Numbers, mean: str, runs: pd.DataFrame, hub: Mapping[str, str]
) -> huggingface_hub.EvalResult:
    """Return a mean as an entry of a model index. Of digests there is room for in ``args``."""
    dataset, category, protocol, _ = mean.split("/")
    first = runs.iloc[0]
    return huggingface_hub.EvalResult(
        task_type=TASK,
        task_name="open-set supervised anomaly detection",
        dataset_type=hub.get(dataset, dataset),
        dataset_name=numbers.grid.dataset(dataset).title,
        dataset_config=f"{category}/{protocol}",
        dataset_split="test",
        metric_type=METRIC,
        metric_name="AUROC, mean over seeds",
        metric_value=statistics.fmean(runs.auroc),
        metric_args={
            "cell": mean,
            "commit": numbers.commit,
            "manifest_sha256": first.manifest_sha256,
            "std": statistics.stdev(runs.auroc) if len(runs) > 1 else None,
            "runs": {
                f"s{run.seed}": {
                    "auroc": run.auroc,
                    "scores_sha256": run.scores_sha256,
                    "split_sha256": run.split_sha256,
                }
                for run in runs.itertuples()
            },
        },
    )


def _entry(
    numbers: Numbers, mean: str, runs: pd.DataFrame, name: str
) -> huggingface_hub.EvalResultEntry:
    """Return a mean as a result of a benchmark on the Hub, whose tasks are named as protocols."""
    _, category, protocol, _ = mean.split("/")
    digests = ", ".join(
        f"s{run.seed} scores sha256 {run.scores_sha256} split sha256 {run.split_sha256}"
        for run in runs.itertuples()
    )
    return huggingface_hub.EvalResultEntry(
        dataset_id=name,
        task_id=protocol if category == "all" else f"{category}-{protocol}",
        value=statistics.fmean(runs.auroc),
        notes=f"AUROC, mean over {len(runs)} seeds; cell {mean}; commit {numbers.commit}; "
        f"{digests}",
    )
