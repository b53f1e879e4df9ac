"""Places of runs and their display: clusters, accelerators, leases, the live table."""

import io
import os
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from physopt.cli import main
from physopt.config.parse import flat_keys
from physopt.options import OptionError
from physopt.records.folder import RunFolder, find_runs
from physopt.sweeping.cluster import from_file
from physopt.sweeping.display import LiveTable
from physopt.sweeping.estimate import Earlier, Row, expected_seconds
from physopt.sweeping.lease import Lease, Watch
from physopt.sweeping.plan import planned_runs, read_request
from physopt.sweeping.resources import Machine, accelerators

HERE = Path(__file__).resolve().parent.parent
RUNS = HERE.parent / "runs"
TINY = HERE / "tiny.py"
PROBLEM = f"problem={TINY}:Tiny"


def test_parsl_carries_runs_to_the_workers_of_a_cluster(tmp_path):
    """The committed SLURM example, with processes of this machine in place of its jobs."""
    executor = tmp_path / "cluster.py"
    executor.write_text(
        "from runpy import run_path\n"
        "from parsl.providers import LocalProvider\n"
        f"config = run_path({str(RUNS / 'slurm.py')!r})['config'](LocalProvider())\n"
    )
    words = [PROBLEM, f"rule={TINY}:Descent,{TINY}:Broken", "device=cpu", f"out={tmp_path / 'out'}"]
    code = main(["sweep", *words, f"executor={executor}", "retries=0", "threads=1"])
    assert code == 1
    ended = {f.path.parent.name: f.status()["status"] for f in find_runs(tmp_path / "out")}
    assert ended == {"Descent": "ok", "Broken": "error"}
    assert not list((tmp_path / "out").glob(".sweeps/*"))


def test_a_cluster_without_parsl_names_the_extra_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "parsl", None)  # any import of it fails
    monkeypatch.setitem(sys.modules, "parsl.config", None)
    words = [PROBLEM, f"rule={TINY}:Descent", "device=cpu", f"out={tmp_path}"]
    assert main(["sweep", *words, f"executor={RUNS / 'slurm.py'}"]) == 2
    assert 'Parsl is not installed; pip install "physopt[cluster]"' in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert main(["sweep", *words, "workers=1", "threads=1"]) == 0, "a local sweep needs no Parsl"


def test_the_slurm_example_is_a_configuration():
    assert [executor.label for executor in from_file(RUNS / "slurm.py").executors] == ["nodes"]


@pytest.mark.parametrize("name", ["batch_size", "accelerator", "compare", "scaling"])
def test_the_committed_sweeps_are_plans(name):
    assert len(planned_runs(read_request([str(RUNS / f"{name}.toml")]))) >= 24


def test_each_accelerator_serves_one_run_at_a_time(tmp_path):
    machine = Machine("gpu", {"cpu": ["cpu"], "gpu": ["H", "H"]})
    lease = Lease(tmp_path)
    names = [f"{name}-of-test-{os.getpid()}" for name in machine.accelerators()]
    watch = Watch(str(lease.file), "run")
    with accelerators(names, 1, watch) as first, accelerators(names, 1, watch) as second:
        taken = [env["CUDA_VISIBLE_DEVICES"] for env in (first, second)]
        assert sorted(taken) == sorted(names)
        lease.end()
        with accelerators(names, 1, watch) as third:  # would wait as long as the sweep wants it
            assert "CUDA_VISIBLE_DEVICES" not in third
    with pytest.raises(OptionError, match="no tpu is found by JAX here; found: cpu, gpu"):
        machine.kind("tpu")


def test_a_run_on_two_accelerators_holds_both_or_none(tmp_path):
    machine = Machine("gpu", {"cpu": ["cpu"], "gpu": ["H", "H", "H"]})
    names = tuple(f"{name}-of-pairs-{os.getpid()}" for name in machine.accelerators())
    lease = Lease(tmp_path)
    watch = Watch(str(lease.file), "run")
    with accelerators(names, 2, watch) as pair:
        assert pair["CUDA_VISIBLE_DEVICES"].split(",") == list(names[:2])
        waiting = threading.Thread(target=lambda: accelerators(names, 2, watch).__enter__())
        waiting.start()
        for _ in range(20):  # the waiting run never blocks the third accelerator
            with accelerators(names, 1, watch) as single:
                assert single["CUDA_VISIBLE_DEVICES"] == names[2]
        assert waiting.is_alive()
        lease.end()
        waiting.join()
    assert machine.kind("gpu", 3) == "H"
    with pytest.raises(OptionError, match="JAX finds 3 here"):
        machine.kind("gpu", 4)


def test_a_lease_measures_how_long_a_run_has_been_active(tmp_path):
    lease = Lease(tmp_path)
    with Watch(str(lease.file), "run").running():
        os.utime(lease.folder / "running" / "run", (1000, 1000))
        os.utime(lease.file, (1030, 1030))
        assert lease.running() == {"run": 30}
        lease.end()
        assert lease.running() == {"run": 0}, "it is still active"
    assert lease.running() == {}


def test_a_run_queued_for_longer_than_its_sweep_lived_does_not_start(tmp_path):
    lease = Lease(tmp_path)
    watch = Watch(str(lease.file), "run")
    os.utime(lease.file, (1000, 1000))
    assert watch.valid(), "this machine's clock may be wrong"
    with watch.running():
        assert not watch.valid()
        lease.renew()
        assert watch.valid()


def test_settings_that_change_no_number_do_not_reduce_likeness():
    (run,) = planned_runs(read_request([PROBLEM, f"rule={TINY}:Descent", "seed=0", "steps=10"]))
    options = flat_keys(run.record())
    traced = Earlier({**options, "profile": True, "tuning_trials": 17}, "cpu", 1.0, 0.0)
    larger = Earlier({**options, "batch_size": 2 * options["batch_size"]}, "cpu", 2.0, 0.0)
    assert expected_seconds(run, "cpu", [traced, larger]) == 10 * traced.per_update


def test_the_live_table_counts_and_estimates(tmp_path):
    runs = planned_runs(read_request([PROBLEM, f"rule={TINY}:Descent", "seed=0,1,2,3", "steps=20"]))
    rows = [Row(run, f"[b]{seed}", tmp_path / f"{seed}") for seed, run in enumerate(runs)]
    rows[0].end("ok", "")
    rows[0].seconds = 10.0
    RunFolder(rows[1].folder).write("status.json", {"status": "running", "step": 15})
    screen = io.StringIO()
    table = LiveTable(Console(file=screen, force_terminal=True, width=100))
    table.show(rows, {"1": 4.0, "2": 30.0})
    table.close()
    shown = screen.getvalue()
    assert "1 of 4 done (1 ok), 2 running, 1 waiting" in shown
    # Three runs of 10 s on two workers: 6 s of one, 0 s of one that is over its estimate, and all
    # of the third, which cannot be shared.
    assert "10 s left" in shown
    assert "step 15/20" in shown
    assert "[b]1" in shown
