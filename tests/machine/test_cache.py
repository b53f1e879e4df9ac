"""Compiled programs are cached between processes, and runs record it."""

import contextlib
import json
import os
import subprocess
import sys

import jax

from physopt.machine.cache import cache_folder, keeping_programs, kept_bytes

RUN = """
import sys, physopt
run = physopt.run("toy", "adam", steps=2, heldout_size=4, figures=False, out=sys.argv[1])
print(run.folder)
"""


def test_a_second_process_reuses_compiled_programs(tmp_path):
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("JAX_")
    } | {"XDG_CACHE_HOME": str(tmp_path / "kept")}

    def run(out):
        command = [sys.executable, "-c", RUN, str(tmp_path / out)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        with open(f"{done.stdout.strip()}/curve.jsonl", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    first, second = run("first")[-1], run("second")[-1]
    assert (first["compile_cached"], second["compile_cached"]) == (False, True)
    assert second["test_loss"] == first["test_loss"]
    assert any((tmp_path / "kept" / "physopt" / "compiled").iterdir())


def test_jax_settings_are_restored(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    given = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with contextlib.suppress(RuntimeError), keeping_programs():
            assert jax.config.values["jax_compilation_cache_dir"].startswith(str(tmp_path))
            raise RuntimeError
        assert jax.config.values["jax_compilation_cache_dir"] is None
    finally:
        jax.config.update("jax_compilation_cache_dir", given)


def test_a_cache_folder_set_by_the_user_takes_precedence(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    assert kept_bytes() == 0
    (tmp_path / "program").write_bytes(b"12345")
    assert kept_bytes() == 5
