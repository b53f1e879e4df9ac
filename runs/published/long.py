"""Experiments of hours: the protocols of the sources, made only if named by `only`."""

from collections.abc import Iterator

from fluids import published_fluids
from quantities import (
    CONTROL,
    HIG,
    INFERENCE,
    SIP,
    Experiment,
    Quantity,
    about,
    above,
    any_value,
    at,
    below,
    final,
    paper,
    ratio,
    seconds_to_pass,
    shared,
)
from smoke import fluid_control, smoke_bucket

LDFT = "Liu et al., npj Comput. Mater. 9, 121 (2023)"


def long_experiments() -> Iterator[Experiment]:
    """List the experiments."""
    yield field("poisson", {60: (3, "3 times"), 5000: (10, "10 times")}, "figure 6b")
    yield field("heat", {100: (1.34, "34 % more accurate"),
                         10_000: (2.3, "130 % more accurate")}, "figure 6d")  # fmt: skip
    yield baselines()
    yield oscillators()
    yield quantum()
    yield levels()
    yield convolutional()
    yield burgers("cfe", "cfe", 28.8, 0.8, (83.4, 2.0))
    yield burgers("staggered", "staggered", 15.3, 0.7, (34.3, 1.1))
    yield burgers("refined", "staggered", 14.2, 0.7)
    yield fluid_control()
    yield smoke_bucket()
    yield from published_fluids()
    yield ldft("ldft2d", 3.30)
    yield ldft("ldft3d", 2.93)
    yield ldft("ldft_hysteresis", 4.7)


def field(problem: str, gains: dict[int, tuple[float, str]], where: str) -> Experiment:
    """SIP and Adam at the batch size of the source; gains {updates: (factor, its words)}."""
    runs = {
        "sip": paper(f"sip_{problem}"),
        "adam": paper(f"sip_{problem}", "rule=adam", "rule.learning_rate=1e-3"),
    }
    return Experiment(f"{problem}_b128", SIP, runs, [
        Quantity(f"batch 128, {step} updates: x_l1 of Adam over SIP", *about(value, 20),
                 ratio("adam", "sip", "x_l1", step), words, where)
        for step, (value, words) in gains.items()
    ], f"{max(gains)} updates, b 128", slow=True)  # fmt: skip


def baselines() -> Experiment:
    """Rules and networks that the source compares with Adam on Poisson's equation."""
    adam = paper("sip_poisson", "rule=adam", "rule.learning_rate=1e-3")
    runs = {
        "adam": adam,
        "fno": paper("sip_poisson", "network=fno", "rule=adam", "rule.learning_rate=3e-3"),
        "free": paper("sip_poisson", "rule=hessian_free", "problem.normalization=group"),
    }
    return Experiment("poisson_baselines", SIP, runs, [
        Quantity(f"batch 128, 5000 updates: x_l1 of Adam over {words}", *about(2, 50),
                 ratio("adam", name, "x_l1"), "twice as accurate", "figure 6b")
        for name, words in (("fno", "a Fourier neural operator"), ("free", "Hessian-free"))
    ], "5000 updates, b 128", slow=True, note=(
        "the source has twice the accuracy of Adam before these two slow down, at a time that "
        "only the figure shows. SGD, Adam and AdaHessian slow down within 300 updates there; on "
        "heat, Hessian-free is better at first and worse later, and the operator is poor."
    ))  # fmt: skip


def oscillators() -> Experiment:
    """HIG and Adam for an hour."""
    runs = {
        "hig": paper("hig_oscillators", "steps=none", "seconds=3600"),
        "adam": paper("hig_oscillators", "steps=none", "seconds=3600", "batch_size=512",
                      "rule=adam", "rule.learning_rate=3e-4"),
    }  # fmt: skip
    return Experiment("oscillators_hour", HIG, runs, [
        Quantity("squared error of HIG after an hour", *below(1e-6),
                 final("hig", "squared_error"), "1e-7", "section 3.1"),
        Quantity("squared error of Adam after an hour", *below(1e-3),
                 final("adam", "squared_error"), "1e-4", "section 3.1"),
        Quantity("squared error after an hour, Adam over HIG", *above(100),
                 ratio("adam", "hig", "squared_error"), "1000", "section 3.1"),
        Quantity("seconds until HIG is below the last error of Adam", *below(600),
                 seconds_to_pass("hig", "adam", "squared_error"), "about 180", "section 3.1"),
    ], "3600 s, b 128 (HIG) and 512 (Adam)", slow=True)  # fmt: skip


def quantum() -> Experiment:
    """HIG on the dipole until its error stops falling."""
    runs = {"hig": paper("hig_quantum", "steps=none", "seconds=5400")}
    return Experiment("quantum_long", HIG, runs, [
        Quantity("infidelity of HIG after 90 minutes", *below(1e-5),
                 final("hig", "infidelity"), "about 1e-6", "section 3.3"),
    ], "5400 s, b 16", slow=True)  # fmt: skip


def levels() -> Experiment:
    """Whether the two levels of the dipole are reached together or one after the other."""
    runs = {
        "hig": paper("hig_quantum"),
        "adam": paper("hig_quantum", "steps=none", "seconds=600", "batch_size=256", "rule=adam",
                      "rule.learning_rate=1e-4"),
    }  # fmt: skip
    losses = "low_energy_loss", "high_energy_loss"
    text = "part left of the high-energy loss when a tenth of the low-energy loss is left"
    return Experiment("quantum_levels", HIG, runs, [
        Quantity(f"Adam: {text}", *above(0.5), shared("adam", *losses),
                 "fits e_2 first, and makes e_3 worse meanwhile", "figure 4c"),
        Quantity(f"HIG: {text}", *below(0.5), shared("hig", *losses),
                 "both fall together", "figure 4c"),
    ], "384 updates, b 16 (HIG); 600 s, b 256 (Adam)", slow=True)  # fmt: skip


def convolutional() -> Experiment:
    """HIG and Adam with the convolutional network of 21,984 parameters."""
    words = ["network=cnn", "steps=none", "seconds=1800"]
    runs = {
        "hig": paper("hig_quantum", *words, "rule.learning_rate=0.0875", "rule.tau=1e-4"),
        "adam": paper("hig_quantum", *words, "batch_size=256", "rule=adam",
                      "rule.learning_rate=2e-4"),
    }  # fmt: skip
    return Experiment("quantum_cnn", HIG, runs, [
        Quantity("convolutional network: infidelity of Adam over HIG", *above(1),
                 ratio("adam", "hig", "infidelity"), "HIG is better", "appendix B.4"),
    ], "1800 s, b 16 (HIG) and 256 (Adam)", slow=True)  # fmt: skip


def burgers(
    network: str, taught: str, value: float, error: float, before: tuple[float, float] | None = None
) -> Experiment:
    """A predictor of forces, trained on forces first and then through the physics.

    taught: the network of the supervised training. value, error: in the end. before: after
    supervised training alone, with which the second run begins.
    """
    runs = {"taught": paper("burgers_supervised", f"network={taught}")}
    if network != taught:
        runs[taught] = paper(f"burgers_{taught}", "start={taught}")
    runs["adam"] = paper(f"burgers_{network}", f"start={{{list(runs)[-1]}}}")
    quantities = [
        Quantity(f"{network}, trained through the physics: L1 norm of the force",
                 f"{value} ± {error}", value - error, value + error,
                 final("adam", "force_l1"), f"{value} ± {error}", "table 1"),
        Quantity(f"{network}, trained through the physics: half the sum of squares", *any_value(),
                 final("adam", "force_half_l2")),
        Quantity(f"{network}: seconds for a scene, of 100 together", *any_value(),
                 final("adam", INFERENCE)),
    ]  # fmt: skip
    if before:
        mean, deviation = before
        quantities = [
            Quantity(f"{network}, supervised: L1 norm of the force", f"{mean} ± {deviation}",
                     mean - deviation, mean + deviation, at("adam", "force_l1", 0),
                     f"{mean} ± {deviation}", "table 1"),
            Quantity(f"{network}, supervised: half the sum of squares", *any_value(),
                     at("adam", "force_half_l2", 0)),
            *quantities,
        ]  # fmt: skip
    if network == "refined":
        runs["shooting"] = paper("burgers_single_shooting", "start={adam}")
        quantities += [
            Quantity("300 iterations from the refined network: L1 norm of the force", "10.1 ± 1",
                     9.1, 11.1, final("shooting", "force_l1"), "10.1", "table 1"),
            Quantity("300 iterations from the refined network: half the sum of squares",
                     *about(0.11, 20), final("shooting", "force_half_l2")),
        ]  # fmt: skip
    return Experiment(f"burgers_{network}", CONTROL, runs, quantities,
                      "see the files of the runs", slow=True, timed=("adam",), note=(
        "the U-net has other layers than the source's residual network."
    ))  # fmt: skip


def ldft(problem: str, percent: float) -> Experiment:
    """The network of the source by its own protocol."""
    return Experiment(f"{problem}_protocol", LDFT, {"sgd": paper(problem)}, [
        Quantity(f"{problem}: area error on binary matrices, %", *below(percent),
                 final("sgd", "area_percent"), f"{percent:g} %", "test loss after 100 epochs"),
    ], "100,000 updates, b 64", slow=True, note=(
        "the source's test set of particle-swarm textures is not available; ours is drawn from "
        "the generators of training and others."
    ))  # fmt: skip
