"""Sweeps on a SLURM cluster: python -m physopt sweep runs/compare.toml executor=runs/slurm.py

Parsl's own configuration. Copy it and fill in what your cluster wants; the results folder has to be
one that all nodes see. Other schedulers: parsl.readthedocs.io, "Configuring".
"""

from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import SlurmProvider

GPUS = 4


def config(provider=None):
    """Return jobs of one node each, with as many runs at once as the node has GPUs."""
    nodes = provider or SlurmProvider(
        partition="gpu",
        scheduler_options=f"#SBATCH --gres=gpu:{GPUS}",
        worker_init="source .venv/bin/activate",
        walltime="04:00:00",
        init_blocks=1,
        max_blocks=8,
    )
    executor = HighThroughputExecutor(
        label="nodes",
        provider=nodes,
        max_workers_per_node=GPUS,
        available_accelerators=GPUS,
        cpu_affinity="block",
    )
    return Config([executor])
