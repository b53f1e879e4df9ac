"""The problems that physopt knows by name. A new one is a file beside this one and a line here."""

PROBLEMS = {
    "ldft2d": "physopt.problems.ldft.design:LDFT2D",
    "ldft3d": "physopt.problems.ldft.design:LDFT3D",
    "ldft_hysteresis": "physopt.problems.ldft.design:LDFTHysteresis",
}
"""Name -> "module:Class"; a class is imported when it is asked for."""
