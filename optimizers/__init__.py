"""The update rules that physopt knows by name. A new one is a file here and a line in RULES."""

RULES = {
    "adam": "physopt.optimizers.first_order:Adam",
    "adamw": "physopt.optimizers.first_order:AdamW",
    "sgd": "physopt.optimizers.first_order:SGD",
    "rmsprop": "physopt.optimizers.first_order:RMSProp",
    "adagrad": "physopt.optimizers.first_order:Adagrad",
    "adadelta": "physopt.optimizers.first_order:Adadelta",
    "lion": "physopt.optimizers.first_order:Lion",
    "muon": "physopt.optimizers.first_order:Muon",
    "lbfgs": "physopt.optimizers.first_order:LBFGS",
    "optax": "physopt.optimizers.first_order:AnyOptax",
    "sip": "physopt.optimizers.sip:SIP",
    "hig": "physopt.optimizers.spectral.half_inverse:HalfInverse",
    "gauss_newton": "physopt.optimizers.spectral.gauss_newton:GaussNewton",
    "metropolis": "physopt.optimizers.metropolis:Metropolis",
    "open_es": "physopt.optimizers.evolution:OpenES",
    "cma_es": "physopt.optimizers.evolution:CMAES",
    "eqprop": "physopt.optimizers.estimated:EquilibriumPropagation",
    "randomized": "physopt.optimizers.estimated:Randomized",
}
"""Name -> "module:Class"; a class is imported when it is first used."""
