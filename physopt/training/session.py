"""Session: the training of one run, with its evaluations, records and checkpoints."""

import dataclasses
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from physopt.config import RunConfig
from physopt.config.registry import name_of
from physopt.machine import devices
from physopt.machine.cache import watching, with_own_lines
from physopt.machine.mesh import mesh_of
from physopt.options import OptionError
from physopt.problem import Batch, Measurements
from physopt.profiling.profile import profile_run
from physopt.records.checkpoints import Checkpoints
from physopt.records.columns import chosen_by
from physopt.records.folder import RunFolder
from physopt.records.samples import remove_samples, write_samples
from physopt.records.status import FINISHED
from physopt.rule import COUNTS, Parameters
from physopt.training.baselines import record_baselines
from physopt.training.data import held_out_sets
from physopt.training.display import Display
from physopt.training.figure import draw_training, is_drawn, write_pictures
from physopt.training.interrupt import Interrupt
from physopt.training.loop import (
    Budget,
    Carry,
    Piece,
    Program,
    compile_program,
    evaluate,
    evaluation_chunk,
    train,
    updates_on_copy,
)
from physopt.training.measuring import overfitting, samples_of_test_sets, set_columns
from physopt.training.memory import Memory
from physopt.training.phases import OTHER, TRAINING, Phases
from physopt.training.refinement import Refined, refined_test_sets, refines_designs
from physopt.training.setup import Refused, plan, prepare, started
from physopt.training.timing import announcing_duration

CHECKPOINT_SECONDS = 10.0
"""Wall-clock seconds between two checkpoints: the most that a killed run loses."""


class Outcome(NamedTuple):
    """How a run ended."""

    status: str
    reason: str


class Session:
    """The training of one run in one process."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        run_devices: Sequence[devices.Device],
        display: Display,
        interrupt: Interrupt,
    ):
        self.config, self.folder, self.devices = config, folder, run_devices
        self.display, self.interrupt = display, interrupt
        self.phases = Phases(display, lambda text: folder.write_status("running", "", phase=text))
        self.budget = Budget(config.settings.steps, config.settings.seconds)
        self.memory = Memory()

    def run(self) -> Outcome:
        """Train until budget, target, divergence or interruption; return how it ended."""
        try:
            with self.phases.phase("setup", "building the network and drawing the test set"):
                mesh = mesh_of(self.devices, self.config.settings.batch_size)
                self.setup = prepare(self.config, mesh)
                self._announce(plan(self.setup))
        except Refused as refused:
            return Outcome("skipped", str(refused))
        self.sets = held_out_sets(self.config.problem)
        remove_samples(self.folder)
        checkpoints = Checkpoints(self.folder.checkpoints)
        try:
            carry = self._begin(checkpoints)
            outcome = self._train(checkpoints, carry)
            if outcome.status in FINISHED:
                self._finish()
        finally:
            checkpoints.close()
        return outcome

    def _finish(self) -> None:
        """Record errors of single samples and baselines, and draw."""
        with self.phases.phase("evaluation", "evaluating the best parameters"):
            errors = samples_of_test_sets(self._measure(self.best), self.sets)
        refined = None
        if refines_designs(self.config.problem):
            with self.phases.phase("refinement", "refining the designs of the test sets"):
                chunk = self._chunk(len(self.setup.held_out) // len(self.sets))
                refined = refined_test_sets(self.setup, self.best, self.sets, chunk)
        write_samples(self.folder, errors | (refined.samples if refined else {}))
        with self.phases.phase("baselines"):
            samples = self._test_samples()
            record_baselines(self.config, self.folder, samples, self.display.phase)
        if self.config.settings.figures:
            with self.phases.phase("figures", "drawing the figures"):
                self._draw(refined)
        if text := overfitting(self.folder.curve()[-1], self.config.settings.train_size):
            self.display.remark(text)

    def _announce(self, method: str | None) -> None:
        if self.config.settings.dtype == "float64":
            self.display.note("precision  float64")
        if self.config.settings.train_on == "test":
            self.display.note(
                "samples  trained on the test set: no error of new samples is measured"
            )
        if method is not None:
            self.display.note(f"method  {method}")
            self.folder.write_status("running", "", method=method)

    def _begin(self, checkpoints: Checkpoints) -> Carry:
        """Return the carry of the newest checkpoint, or that of a new run."""
        new = checkpoints.latest() is None
        if new and self.config.settings.start is not None:
            self.setup = started(self.config, self.setup)
        setup = self.setup
        carry = setup.initial_carry()
        if new:
            self.folder.truncate_curve(-1)
            self.best = setup.params
            self._record(carry, {})
            return carry
        carry, self.best, host = checkpoints.restore(carry)
        self.memory = Memory.from_json(host)
        self.folder.truncate_curve(self.memory.clock.step)
        self.display.note(f"going on from step {self.memory.clock.step}")
        return carry

    def _train(self, checkpoints: Checkpoints, carry: Carry) -> Outcome:
        settings, memory = self.config.settings, self.memory
        program = self._compile(carry)
        if settings.profile:
            updates = updates_on_copy(program, carry, self.budget.pace(memory.clock))
            text = program.compiled.as_text() or ""
            profile_run(updates, text, self.folder, self.display.note)
        with self.phases.phase(TRAINING, TRAINING):
            pieces = train(
                program, carry, memory.clock, self.budget, settings.log_every,
                self.interrupt.requested,
            )  # fmt: skip
            pieces = announcing_duration(pieces, memory.clock, self.budget, self.display.note)
            return self._follow(pieces, carry, checkpoints)

    def _compile(self, carry: Carry) -> Program:
        """Compile an update, and add the time that this takes to the clock."""
        setup, memory, start = self.setup, self.memory, time.perf_counter()
        with (
            self.phases.phase("compilation", "compiling an update"),
            watching() as seen,
            with_own_lines(self.config.settings.profile),
        ):
            program = compile_program(setup.rule, setup.objective, carry, setup.source, setup.key)
        seconds = memory.clock.t_compile + time.perf_counter() - start
        cached = memory.clock.compile_cached or seen.all_kept
        memory.clock = dataclasses.replace(memory.clock, t_compile=seconds, compile_cached=cached)
        return program

    def _follow(self, pieces: Iterable[Piece], carry: Carry, checkpoints: Checkpoints) -> Outcome:
        """Record evaluations and save checkpoints while pieces of training are made."""
        memory, saved, outcome, report = self.memory, time.monotonic(), None, {}
        for piece in pieces:
            carry = piece.carry
            memory.clock = dataclasses.replace(
                memory.clock, step=piece.clock.step, t_train=piece.clock.t_train
            )
            if piece.report is None:
                self.display.piece(memory.clock, self.budget)
                continue
            row, report = self._record(carry, piece.report), piece.report
            if outcome := self._verdict(row):
                break
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save(checkpoints, carry)
                saved = time.monotonic()
        self._save(checkpoints, carry)
        if remark := self.setup.rule.remark(carry.state, report):
            self.folder.write_status("running", "", remark=remark)
        return outcome or self._end(carry)

    def _record(self, carry: Carry, report: dict[str, float]) -> dict[str, Any]:
        """Evaluate, remember the best parameters, and add a row to the curve."""
        memory, setup = self.memory, self.setup
        start = time.perf_counter()
        params = setup.rule.evaluated(carry.params, carry.state)
        text = "" if memory.clock.step else "evaluating the initial parameters"
        with self.phases.phase("evaluation", text):
            measured = self._measure(params)
        seconds = time.perf_counter() - start
        memory.clock = dataclasses.replace(memory.clock, t_eval=memory.clock.t_eval + seconds)
        for name in COUNTS:
            memory.counts[name] += int(report.get(name, 0))
        losses = set_columns(self.config.problem, measured, self.sets, carry.sums)
        value = self._chosen_by(losses)
        if value < memory.best_value:
            memory.best_value, memory.best_step = value, memory.clock.step
            self.best = jax.tree.map(jnp.copy, params)
        row = self._row(report, losses)
        self.folder.append(row)
        self.display.evaluated(row, memory.clock, self.budget)
        return row

    def _measure(self, params: Parameters) -> Measurements:
        """Evaluate parameters on all held-out sets."""
        setup, chunk = self.setup, self._chunk(len(self.setup.held_out))
        return jax.device_get(
            evaluate(setup.objective, params, setup.held_out, setup.source, chunk)
        )

    def _chunk(self, size: int) -> int:
        return evaluation_chunk(size, self.config.settings.batch_size, len(self.devices))

    def _chosen_by(self, losses: dict[str, float]) -> float:
        """Return the value that selects the best parameters."""
        metric, _ = self.config.problem.target or ("loss", 0.0)
        column = chosen_by(metric)
        if column not in losses:
            raise OptionError(object, "target", metric, "the problem has no such metric")
        # A metric of thresholded unknowns may be finite even if the unknowns are not.
        return losses[column] if math.isfinite(losses["validation_loss"]) else math.inf

    def _row(self, report: dict[str, float], losses: dict[str, float]) -> dict[str, Any]:
        config, settings = self.config, self.config.settings
        extra = {k: v for k, v in report.items() if k not in (*COUNTS, "loss")}
        return {
            "run_id": self.folder.path.name,
            "problem": name_of("problem", type(config.problem)),
            "rule": name_of("rule", type(config.rule)),
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "device_kind": self.devices[0].device_kind,
            "device_count": len(self.devices),
            "dtype": settings.dtype,
            **dataclasses.asdict(self.memory.clock),
            "train_loss": report.get("loss"),
            **losses,
            **self.memory.counts,
            "grad_norm": report.get("grad_norm"),
            "update_norm": report.get("update_norm"),
            "peak_bytes": devices.peak_bytes(self.devices),
            **extra,
        }

    def _verdict(self, row: dict[str, Any]) -> Outcome | None:
        """Return the outcome if an evaluation ends the run."""
        # Physics may return finite numbers for NaN parameters, but the update's norm is then NaN.
        for name in ("train_loss", "validation_loss", "update_norm"):
            if not math.isfinite(row[name]):
                return Outcome("diverged", f"{name} is {row[name]} at step {row['step']}")
        if self.config.settings.stop_at_target and self.config.problem.target:
            metric, value = self.config.problem.target
            reached = row[f"validation_{metric}"]
            if reached <= value:
                return Outcome("target", f"validation {metric} {reached:.4g} <= {value:g}")
        return None

    def _end(self, carry: Carry) -> Outcome:
        if carry.converged:
            return Outcome("converged", f"converged at step {self.memory.clock.step}")
        spent = self.budget.spent(self.memory.clock)
        if spent == "steps":
            return Outcome("ok", f"{self.budget.steps} steps made")
        if spent == "seconds":
            return Outcome("budget", f"{self.budget.seconds:g} training seconds spent")
        reason = f"{self.interrupt.signal_name} at step {self.memory.clock.step}"
        return Outcome("interrupted", reason)

    def _save(self, checkpoints: Checkpoints, carry: Carry) -> None:
        clock = self.memory.clock
        with self.phases.phase(OTHER):
            checkpoints.save(clock.step, carry, self.best, self.memory.to_json())
        self.folder.write_status("running", "", **dataclasses.asdict(clock))

    def _test_samples(self, count: int | None = None) -> Batch:
        """Return the first samples of the test set."""
        size = len(self.setup.held_out) // len(self.sets)
        end = 2 * size if count is None else size + min(count, size)
        return jax.tree.map(lambda leaf: leaf[size:end], self.setup.held_out)

    def _draw(self, refined: Refined | None) -> None:
        """Draw the training and, if supported, test samples with the best parameters."""
        problem, setup = self.config.problem, self.setup
        training = draw_training(self.folder.curve(), problem.target)
        training.savefig(self.folder.path / "training.png", dpi=150)
        if not is_drawn(problem):
            return
        x = jax.jit(setup.predict)(self.best, setup.held_out.inputs)
        batch = self._test_samples(problem.drawn)
        first = len(setup.held_out) // len(self.sets)
        x = jax.tree.map(lambda leaf: leaf[first : first + len(batch)], x)
        after = refined and refined.first(len(batch))
        write_pictures(problem, x, batch, after, self.folder.path)
