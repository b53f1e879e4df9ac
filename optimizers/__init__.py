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
    "soap": "physopt.optimizers.first_order.soap:SOAP",
    "shampoo": "physopt.optimizers.first_order.shampoo:Shampoo",
    "adahessian": "physopt.optimizers.first_order.adahessian:AdaHessian",
    "optax": "physopt.optimizers.first_order.any_optax:AnyOptax",
    "sip": "physopt.optimizers.sip:SIP",
    "hig": "physopt.optimizers.spectral.half_inverse:HalfInverse",
    "gauss_newton": "physopt.optimizers.spectral.gauss_newton:GaussNewton",
    "engd": "physopt.optimizers.spectral.energy_natural:EnergyNaturalGradient",
    "metropolis": "physopt.optimizers.metropolis:Metropolis",
    "proxy": "physopt.optimizers.proxy:Proxy",
    "open_es": "physopt.optimizers.evolution:OpenES",
    "cma_es": "physopt.optimizers.evolution:CMAES",
    "eqprop": "physopt.optimizers.estimated:EquilibriumPropagation",
    "coupled": "physopt.optimizers.estimated:CoupledLearning",
    "subsampled": "physopt.optimizers.estimated:Subsampled",
    "randomized": "physopt.optimizers.randomized:Randomized",
    "ssbroyden": "physopt.optimizers.quasi_newton:QuasiNewton",
    "levenberg_marquardt": "physopt.optimizers.spectral.levenberg_marquardt:LevenbergMarquardt",
    "hessian_free": "physopt.optimizers.hessian_free:HessianFree",
    "nncg": "physopt.optimizers.nncg:NNCG",
    "dual_cone": "physopt.optimizers.dual_cone:DualCone",
    "kfac": "physopt.optimizers.kfac:KFAC",
    "spring": "physopt.optimizers.spring:Spring",
}
"""Name -> "module:Class"; a class is imported when it is first used."""

ALIASES = {"lm": "levenberg_marquardt"}
"""Short name -> name in RULES."""
