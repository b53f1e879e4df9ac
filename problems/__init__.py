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
    "navier_stokes": "physopt.problems.fluid.navier_stokes:NavierStokes",
    "fluid_control": "physopt.problems.fluid.fluid_control:FluidControl",
    "fluid_control_supervised": (
        "physopt.problems.fluid.fluid_control_supervised:FluidControlSupervised"
    ),
    "smoke_bucket": "physopt.problems.fluid.smoke_bucket:SmokeBucket",
    "pressure_guess": "physopt.problems.solver_loop.pressure_guess:PressureGuess",
    "forced_burgers": "physopt.problems.solver_loop.forced_burgers:ForcedBurgers",
    "wake": "physopt.problems.solver_loop.wake:Wake",
    "oscillators": "physopt.problems.oscillators:Oscillators",
    "quantum": "physopt.problems.quantum:QuantumDipole",
    "springs": "physopt.problems.springs.allostery:Springs",
    "springs_elastic": "physopt.problems.springs.elastic:SpringsElastic",
    "springs_tensor": "physopt.problems.springs.structure:SpringsTensor",
    "exp": "physopt.problems.exponential:Exponential",
    "sin": "physopt.problems.sine:Sine",
    "toy": "physopt.problems.toy:Toy",
    "assembly": "physopt.problems.assembly.design:Assembly",
    "assembly_fit": "physopt.problems.assembly.fit:AssemblyFit",
    "wave_packet": "physopt.problems.local_minima.wave_packet:WavePacket",
    "billiards": "physopt.problems.local_minima.billiards:Billiards",
    "kuramoto_sivashinsky": (
        "physopt.problems.local_minima.kuramoto_sivashinsky:KuramotoSivashinsky"
    ),
    "trap": "physopt.problems.trap.problem:Trap",
    "ldft_temperature": "physopt.problems.ldft.temperature_design:LDFTTemperature",
    "ldft_mixture": "physopt.problems.ldft.mixture_design:LDFTMixture",
    "pinn_poisson": "physopt.problems.pinn.poisson:PoissonPINN",
    "pinn_poisson_nd": "physopt.problems.pinn.poisson_nd:PoissonNDPINN",
    "pinn_heat": "physopt.problems.pinn.heat:HeatPINN",
    "pinn_burgers": "physopt.problems.pinn.burgers:BurgersPINN",
    "pinn_allen_cahn": "physopt.problems.pinn.allen_cahn:AllenCahnPINN",
    "pinn_kdv": "physopt.problems.pinn.kdv:KdVPINN",
    "pinn_kdv_solitons": "physopt.problems.pinn.kdv_solitons:KdVSolitonsPINN",
    "pinn_convection": "physopt.problems.pinn.convection:ConvectionPINN",
    "pinn_helmholtz": "physopt.problems.pinn.helmholtz:HelmholtzPINN",
}
"""Name -> "module:Class"; a class is imported on first use."""
