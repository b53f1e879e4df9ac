"""Registry of problems by name. A new one is a file in this folder and a line here."""

PROBLEMS = {
    "ldft2d": "physopt.problems.ldft.named:LDFT2D",
    "ldft3d": "physopt.problems.ldft.named:LDFT3D",
    "ldft_hysteresis": "physopt.problems.ldft.named:LDFTHysteresis",
    "poisson": "physopt.problems.poisson:Poisson",
    "poisson8": "physopt.problems.poisson8:Poisson8",
    "heat": "physopt.problems.heat:Heat",
    "burgers": "physopt.problems.burgers.control:Burgers",
    "burgers_supervised": "physopt.problems.burgers.supervised:BurgersSupervised",
    "oscillators": "physopt.problems.oscillators:Oscillators",
    "quantum": "physopt.problems.quantum:QuantumDipole",
    "springs": "physopt.problems.springs.allostery:Springs",
    "springs_elastic": "physopt.problems.springs.elastic:SpringsElastic",
    "exp": "physopt.problems.exponential:Exponential",
    "sin": "physopt.problems.sine:Sine",
    "toy": "physopt.problems.toy:Toy",
}
"""Name -> "module:Class"; a class is imported on first use."""
