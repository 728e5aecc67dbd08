"""The settings every test runs under, and where the real market data is looked for."""

import os
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parents[1]

# Types and shapes in signatures are checked at every call, in whatever a test imports from here on. As for
# any type checker, an int will do where a float is wanted; an array will not.
install_import_hook("twosided", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# An array that broadcasts by accident, or mixes precisions, is a mistake until someone says otherwise.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Compiling is most of the work here, and the same programs come back in every process, those of the notebooks and of
# the command line too (they read the environment), and at every run.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)

# A first example compiles, so none has a deadline. Continuous integration tries the same ones every time.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Find a file of real market data by its name, or skip the test where it is not at hand."""
    folder = Path(os.environ.get("TWOSIDED_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no {name} in {folder}; name the folder that holds it in TWOSIDED_DATA")
        return folder / name

    return find


@pytest.fixture
def run(capsys):
    """Run a command of the command line in this process: its exit code and the lines it wrote to either stream."""
    from twosided import cli

    def call(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = cli.run([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.splitlines()

    return call
