#!/bin/bash
# A suite as a Slurm array, without Ray: sbatch experiments/slurm/array.sh experiments/default.toml
# Some shards again, or on: sbatch --array=3,5 experiments/slurm/array.sh experiments/default.toml
# Afterwards: ntbench merge runs/default runs/default-shard-*
#SBATCH --job-name=ntbench
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
# Two minutes before the time is over, trials in flight are finished and no more are begun.
#SBATCH --signal=TERM@120

suite=${1:?which suite?}
shards=8  # as many as --array has: a job's share must not depend on which jobs are submitted together
# srun does not take --cpus-per-task over from sbatch since Slurm 22.05.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" ntbench run "$suite" \
  --shard "$SLURM_ARRAY_TASK_ID/$shards" \
  --jobs "$SLURM_CPUS_PER_TASK" \
  --timeout 3600
