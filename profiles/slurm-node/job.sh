#!/bin/bash
# Runs the whole grid in one allocation: sbatch --cpus-per-task=16 --mem=32G profiles/slurm-node/job.sh
# Further words are Snakemake's, as --configfile configs/paper.yaml. Submitted again, it goes on.
#SBATCH --job-name=osad
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=1-00:00:00
set -euo pipefail
# Jobs share the first GPU, one at a time; without one none waits for it. One that does not work is an error.
export OSAD_GPU_GRANTED=1
resources=(gpu=$((${SLURM_GPUS_ON_NODE:-0} > 0)))
memory=${SLURM_MEM_PER_NODE:-$((${SLURM_MEM_PER_CPU:-0} * SLURM_CPUS_ON_NODE))}
if [ "$memory" -gt 0 ]; then resources+=("mem_mb=$memory"); fi
export PATH="$PWD/.venv/bin:$PATH"
exec snakemake --profile profiles/slurm-node --cores "$SLURM_CPUS_ON_NODE" \
    "$@" --resources "${resources[@]}"
