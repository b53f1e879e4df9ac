"""The update rules that physopt knows by name. A new one is a file here and a line in RULES."""

RULES = {
    "adam": "physopt.optimizers.first_order.named:Adam",
    "adamw": "physopt.optimizers.first_order.named:AdamW",
    "sgd": "physopt.optimizers.first_order.named:SGD",
    "rmsprop": "physopt.optimizers.first_order.named:RMSProp",
    "adagrad": "physopt.optimizers.first_order.named:Adagrad",
    "adadelta": "physopt.optimizers.first_order.named:Adadelta",
    "lion": "physopt.optimizers.first_order.named:Lion",
    "muon": "physopt.optimizers.first_order.named:Muon",
    "lbfgs": "physopt.optimizers.first_order.named:LBFGS",
    "optax": "physopt.optimizers.first_order.any_optax:AnyOptax",
    "sip": "physopt.optimizers.sip:SIP",
    "hig": "physopt.optimizers.spectral.half_inverse:HalfInverse",
    "gauss_newton": "physopt.optimizers.spectral.gauss_newton:GaussNewton",
    "engd": "physopt.optimizers.spectral.energy_natural:EnergyNaturalGradient",
    "metropolis": "physopt.optimizers.metropolis:Metropolis",
    "open_es": "physopt.optimizers.evolution:OpenES",
    "cma_es": "physopt.optimizers.evolution:CMAES",
    "eqprop": "physopt.optimizers.estimated:EquilibriumPropagation",
    "randomized": "physopt.optimizers.estimated:Randomized",
    "ssbroyden": "physopt.optimizers.quasi_newton:QuasiNewton",
    "levenberg_marquardt": "physopt.optimizers.levenberg_marquardt:LevenbergMarquardt",
}
"""Name -> "module:Class"; a class is imported when it is first used."""

ALIASES = {"lm": "levenberg_marquardt"}
"""Short name -> name in RULES."""
