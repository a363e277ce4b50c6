#!/bin/bash
# A suite on several nodes by Ray: sbatch experiments/slurm/ray.sh experiments/default.toml
# Once before, where home folders are shared: ray get-auth-token --generate
#SBATCH --job-name=ntbench
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00

suite=${1:?which suite?}
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
others=$((SLURM_JOB_NUM_NODES - 1))
address=$head:6379
# srun does not take --cpus-per-task over from sbatch since Slurm 22.05.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --port=6379 --num-cpus="$SLURM_CPUS_PER_TASK" --block &
sleep 20
if [ "$others" -gt 0 ]; then
  srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" \
    ray start --address="$address" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
fi
# Workers start as nodes join; a node that dies takes nothing with it.
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
  ntbench run "$suite" --launcher ray --address "$address" --timeout 3600
