"""How the wheel is made: the modules that every request runs through are compiled with mypyc, where that can be done.

setuptools finds `CompiledWheel` through pyproject.toml; nothing imports this file at run time. The sources lie in the wheel
beside what was made of them, and Python prefers the compiled form. Where there is no C compiler, or no header to compile
against, or anything else goes wrong, the wheel is a pure one: the same files, interpreted.

`TIDEGATE_COMPILE=0` makes a pure wheel, `TIDEGATE_COMPILE=1` fails where a compiled one cannot be made. An editable install is
always interpreted: a compiled module in the checkout would go on running after its source was edited.
"""

import os
import shlex
import shutil
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.errors import BaseError, CCompilerError

HOT: Final = (
    "proxy/errors.py",
    "proxy/cap_files.py",
    "proxy/verdicts.py",
    "proxy/core/*.py",
    "proxy/channel/*.py",
    "proxy/dataplane/*.py",
    "proxy/telemetry/access_log.py",
    "proxy/telemetry/counters.py",
)
INTERPRETED: Final = (
    "__init__.py",
    "explanation.py",  # control's, as those that follow are
    "flag_explanation.py",
    "movement.py",
    "health.py",
    "link.py",  # one channel a worker; its base is asyncio's
    "preface.py",  # once a connection, on listeners that want it
    "tls.py",
    "worker.py",  # started with `python -m`, which wants a source file
)
FLAGS: Final = ("-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt")
"""Nobody outside calls one compiled function by its name: so calls among them are direct, and may be put in place. Without these
a small GET misses the instruction cache a seventh more often, and the data cache a third (docs/performance.md)."""


class CannotCompileError(Exception):
    """Why there is no compiled wheel."""


class CompiledWheel(bdist_wheel):  # type: ignore[misc]  # setuptools says nothing of its types
    """The command `bdist_wheel`: compiled if it can be, pure if not, and one line that says which."""

    def run(self) -> None:
        """Make the wheel. Raises SystemExit where TIDEGATE_COMPILE=1 and it cannot be compiled."""
        wish = os.environ.get("TIDEGATE_COMPILE", "")
        # In a directory of its own: what an earlier build left in build/ must not get into this wheel.
        with TemporaryDirectory(prefix="tidegate-build-") as scratch:
            self._build_in(Path(scratch, "pure"))
            if wish == "0":
                said = "interpreted, as TIDEGATE_COMPILE=0 says"
            else:
                try:
                    said = f"{self._compile(Path(scratch, 'compiled'))} modules compiled"
                except CannotCompileError as reason:
                    if wish == "1":
                        raise SystemExit(
                            f"tidegate: {reason}, and TIDEGATE_COMPILE=1 wants a compiled wheel"
                        ) from reason
                    said = f"interpreted ({reason}): all of it works, a request costs more"
                    self.distribution.ext_modules = []
                    self._build_in(Path(scratch, "pure"))
            super().run()
        print(f"tidegate: {said}")  # noqa: T201 - `pip install -v` shows it

    def _build_in(self, place: Path) -> None:
        self.reinitialize_command("build", reinit_subcommands=True)
        self.distribution.get_command_obj("build").build_base = str(place)

    def _compile(self, place: Path) -> int:
        _check_compiler()
        extensions, modules = _translate(place)
        self.distribution.ext_modules = extensions
        self._build_in(place)
        build = self.distribution.get_command_obj("build_ext")
        build.parallel = os.cpu_count()
        try:
            self.run_command("build_ext")
        except (BaseError, CCompilerError, OSError) as error:
            raise CannotCompileError("the C compiler failed") from error
        self.root_is_pure = False
        return modules


def _check_compiler() -> None:
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        raise CannotCompileError("there is no C compiler")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CannotCompileError("Python's C headers are not installed")


def _translate(place: Path) -> tuple[list[Extension], int]:
    """The extensions that mypyc makes of the hot modules, and how many modules those are.

    They are one group: a call from one to another is a call in C.
    """
    try:
        from mypyc.build import mypycify  # noqa: PLC0415 - where nothing is compiled it need not be there
    except ImportError as error:
        raise CannotCompileError("mypyc is not installed") from error
    sources = sorted(str(path) for hot in HOT for path in Path().glob(hot) if path.name not in INTERPRETED)
    # The project's own mypy settings are for its checks, where its dependencies are installed; here they are not.
    settings = ["--config-file=", f"--cache-dir={os.devnull}", "--ignore-missing-imports"]
    try:
        extensions = mypycify([*settings, *sources], opt_level="3", group_name="tidegate", target_dir=str(place))
    except SystemExit as error:
        raise CannotCompileError("mypyc refuses the sources") from error
    for extension in extensions:
        extension.extra_compile_args = [*extension.extra_compile_args, *FLAGS]
    return extensions, len(sources)
