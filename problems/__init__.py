"""The problems that physopt knows by name. A new one is a file beside this one and a line here."""

PROBLEMS = {
    "ldft2d": "physopt.problems.ldft.design:LDFT2D",
}
"""Name -> "module:Class"; a class is imported when it is asked for."""
