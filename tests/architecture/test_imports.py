"""What may be imported by whom, and how little the light parts need."""

import subprocess
import sys

HEAVY = ("torch", "tensorflow", "onnx", "onnx2tf", "paramiko", "asyncssh", "pycocotools", "keras")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    for statement in ("import toolchain", "import toolchain.cli", "import targets"):
        assert loaded_after(statement).isdisjoint(HEAVY), statement


def test_running_and_reporting_need_neither_torch_nor_tensorflow() -> None:
    statement = (
        "import toolchain.measuring, toolchain.runs, toolchain.report.summarise, "
        "toolchain.report.writer, toolchain.subject, toolchain.detecting, targets.session"
    )
    assert loaded_after(statement).isdisjoint(("torch", "tensorflow", "onnx", "onnx2tf", "keras"))


def test_the_help_of_every_command_loads_nothing_heavy() -> None:
    statement = (
        "from toolchain.cli.main import COMMANDS, cli; import click; "
        "[cli.get_command(click.Context(cli), name) for name in COMMANDS]"
    )
    assert loaded_after(statement).isdisjoint(HEAVY)


def test_the_contract_of_the_agent_names_every_other_module_of_targets() -> None:
    import tomllib
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    [agent] = [c for c in contracts["contracts"] if c["source_modules"] == ["targets.agent"]]
    modules = {f"targets.{path.stem}" for path in (root / "targets").glob("*.py")}
    folders = {f"targets.{path.parent.name}" for path in (root / "targets").glob("*/__init__.py")}
    others = (modules | folders) - {"targets.__init__", "targets.agent"}
    assert others <= set(agent["forbidden_modules"])
