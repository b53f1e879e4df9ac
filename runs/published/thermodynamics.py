"""Experiments of stochastic thermodynamics and self-assembly."""

from quantities import Experiment, Quantity, any_value, baseline, below, final, paper

TRAP = "doi 10.1103/PhysRevLett.98.108301"
ASSEMBLY = "doi 10.1073/pnas.2403384121"


def trap() -> Experiment:
    """The optimal protocol of a moved trap, sample by sample and by a network."""
    runs = {
        "lbfgs": paper("trap", "network=none", "rule=lbfgs", "steps=50", "log_every=10"),
        "network": paper("trap"),
    }
    return Experiment("trap", TRAP, runs, [
        Quantity("moved trap, network=none: mean of W - W* in kT", *below(1e-6),
                 final("lbfgs", "excess_work"), "0", "closed form of W*"),
        Quantity("moved trap, one network for all distances and durations: mean of W - W* in kT",
                 *below(1e-5), final("network", "excess_work")),
    ], "50 iterations; 50 updates, b 32")  # fmt: skip


def assembly() -> Experiment:
    """Growth rates of a tetramer by a network, and rates that are all equal."""
    return Experiment("assembly", ASSEMBLY, {"adam": paper("assembly")}, [
        Quantity("tetramer, all rates 1/(uM s): share of subunits outside of complexes",
                 *any_value(), baseline("equal rates", "unassembled")),
        Quantity("tetramer, rates of a network: share of subunits outside of complexes",
                 *any_value(), final("adam", "unassembled")),
    ], "500 updates, b 16", note=(
        "no yields of the source are known to us as printed numbers; the simulator agrees with "
        "an independent solver of the same kinetics, see tests/problems/test_assembly.py."
    ))  # fmt: skip
