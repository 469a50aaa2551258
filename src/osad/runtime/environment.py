"""The environment that every computing process has before Python starts.

Libraries read these variables once, when they are loaded, so they must be set by whoever starts
the process. This module uses the standard library only and starts fast.
"""

from __future__ import annotations

TYPE_CHECKING = False  # Not from typing: importing that would double the client's start-up.
if TYPE_CHECKING:
    from collections.abc import Mapping

REMOVED_PREFIXES = (
    "ATEN_",
    "BLIS_",
    "CUBLAS_",
    "CUBLASLT_",
    "CUDNN_",
    "DNNL_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "NPY_",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTORCH_TUNABLEOP_",
    "VECLIB_",
)
"""Families of variables that choose numerical kernels, instruction sets or thread counts.

Examples: MKL_ENABLE_INSTRUCTIONS, ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY.
"""

REMOVED_NAMES = frozenset(
    {
        "GLIBC_TUNABLES",
        "NVIDIA_TF32_OVERRIDE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "TORCH_BLAS_PREFER_CUBLASLT",
    }
)
"""Single variables that can change numbers, for the same reason."""

KEPT_NAMES = frozenset({"KMP_DUPLICATE_LIB_OK"})
"""Names of a removed family that change no number; without this one some macOS set-ups abort."""


def variables() -> dict[str, str]:
    """Return the variables that every computing process has.

    - MALLOC_*: glibc keeps freed memory instead of returning it to the system after each
      operation, which doubles the speed of large tensors. Other C libraries ignore them.
    - ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA, OPENBLAS_CORETYPE, MKL_CBWR: kernels for AVX2 and
      no newer instructions, so that processors of all vendors and ages give the same bits.
    - *_NUM_THREADS: one thread; cells run side by side instead, and the number of cores never
      reaches the bytes.
    - CUBLAS_WORKSPACE_CONFIG: makes cuBLAS deterministic; torch demands it.
    - PYTHONSAFEPATH: ``python -m`` does not look for modules in the current folder, where a folder
      or file by the name of a package would be taken for the version that the lock file pins.
    - PYTHONHASHSEED: the order of sets of texts is the same in every process.
    - PYTHONUTF8: texts and file names are UTF-8 whatever the locale is.
    """
    return {
        "ATEN_CPU_CAPABILITY": "avx2",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "8589934592",
        "MKL_CBWR": "AVX2",
        "MKL_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONSAFEPATH": "1",
        "PYTHONUTF8": "1",
    }


def computing_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of ``base`` in which nothing can change the numbers.

    A user's settings that choose kernels or thread counts are dropped (see `REMOVED_PREFIXES` and
    `REMOVED_NAMES`), then `variables` are set. Everything else stays, for example
    CUDA_VISIBLE_DEVICES and the paths.

    Example:
        >>> computed = computing_environment({"HOME": "/h", "MKL_CBWR": "SSE2", "NPY_X": "1"})
        >>> computed["HOME"], computed["MKL_CBWR"], "NPY_X" in computed
        ('/h', 'AVX2', False)
    """
    kept = {
        name: value
        for name, value in base.items()
        if name in KEPT_NAMES or not (name in REMOVED_NAMES or name.startswith(REMOVED_PREFIXES))
    }
    return kept | variables()
