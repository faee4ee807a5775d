"""What the Dockerfile promises, as far as it can be read off without an engine."""

import json
import shlex
from pathlib import Path

import yaml

import proxy

ROOT = Path(__file__).resolve().parents[2]


def _instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order, comments dropped and continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            found.append((word.upper(), " ".join(rest.split())))
    return found


def _stages() -> list[list[tuple[str, str]]]:
    stages: list[list[tuple[str, str]]] = []
    for word, rest in _instructions():
        if word == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((word, rest))
    return stages


def _last(word: str) -> str:
    return [rest for name, rest in _stages()[-1] if name == word][-1]


def test_two_stages_and_only_the_first_has_a_compiler() -> None:
    build, final = _stages()
    assert any("gcc" in rest for word, rest in build if word == "RUN")
    assert not any("gcc" in rest or "pip" in rest or "apt-get" in rest for word, rest in final if word == "RUN")
    assert "slim" in final[0][1]


def test_runs_as_a_user_with_a_fixed_number() -> None:
    user, _, group = _last("USER").partition(":")
    assert user.isdigit()
    assert int(user) >= 10000
    assert user == group
    created = next(rest for word, rest in _stages()[-1] if word == "RUN" and "useradd" in rest)
    assert f"--uid {user}" in created


def test_nothing_after_the_user_needs_root() -> None:
    words = [word for word, _ in _stages()[-1]]
    assert not {"RUN", "COPY", "ADD"} & set(words[words.index("USER") :])


def test_started_without_a_shell_so_that_signals_arrive() -> None:
    assert json.loads(_last("ENTRYPOINT")) == ["tidegate"]
    assert json.loads(_last("CMD")) == ["run", "-c", "/etc/tidegate/tidegate.yaml"]
    assert _last("STOPSIGNAL") == "SIGTERM"


def test_health_is_asked_of_the_metrics_listener_without_a_shell() -> None:
    check = _last("HEALTHCHECK")
    command = json.loads(check[check.index("CMD ") + 4 :])
    assert command[0] == "python3"
    compile(command[2], "healthcheck", "exec")
    assert ":9902/healthz" in command[2]


def test_exposed_ports_are_those_of_the_image_configuration() -> None:
    settings = yaml.safe_load((ROOT / "config/container.yaml").read_text())
    assert _last("EXPOSE").split() == ["8080", "9902"]
    assert str(settings["listen"]).endswith(":8080")
    assert settings["metrics"] == "0.0.0.0:9902"


def test_image_configuration_drains_before_a_runtime_kills() -> None:
    drain = yaml.safe_load((ROOT / "config/container.yaml").read_text())["drain"]
    assert int(drain["delay"].removesuffix("s")) + int(drain["limit"].removesuffix("s")) < 10


def test_every_copied_file_exists_and_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in _instructions():
        if word != "COPY" or "--from" in rest:
            continue
        for source in shlex.split(rest)[:-1]:
            place = Path(proxy.__file__).parent if source == "proxy" else ROOT / source
            assert place.exists(), source
            assert source.rstrip("/") in kept, source
