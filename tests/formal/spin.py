"""Explores the models of docs/formal with Spin: every state within the bounds that the file beside each names."""

import re
import shutil
import subprocess
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "formal"
MODELS = ("registration", "session", "nodes")
"""Each is a file NAME.pml, with its runs and mutants in NAME.toml."""
DEPTH = 1_000_000
"""The longest path searched. A longer one would make the search incomplete, which is an error."""


class ModelError(Exception):
    """The model cannot be explored. The text is what Spin, the compiler or the search said."""


@dataclass(frozen=True)
class Job:
    """A model to explore: the project's, or one with a fault."""

    name: str
    model: str = field(repr=False)
    bounds: Mapping[str, int]
    caught_by: str | None = None
    """The property that the fault must break. None means that there must be no error."""


@dataclass(frozen=True)
class Result:
    """What an exploration found."""

    states: int
    transitions: int
    depth: int
    violated: str | None
    """The name of the first property found broken."""
    unreached: Counter[str]
    """Statements of the model that no path reached."""


def plan(name: str, text: str | None = None) -> tuple[list[Job], list[Job], Counter[str]]:
    """Return a model's runs, its mutants, and the statements that no run reaches."""
    model = (FOLDER / f"{name}.pml").read_text(encoding="utf-8") if text is None else text
    described = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    bounds: dict[str, Mapping[str, int]] = {run["name"]: run["bounds"] for run in described["run"]}
    runs = [Job(name, model, chosen) for name, chosen in bounds.items()]
    mutants = [
        Job(m["fault"], replaced(model, m["replace"]), bounds[m["run"]], m["caught_by"]) for m in described["mutant"]
    ]
    return runs, mutants, Counter(described["unreached"])


def replaced(text: str, pairs: Sequence[Sequence[str]]) -> str:
    """Replace each ``old`` in the text by its ``new``. Raises ModelError unless it occurs exactly once."""
    for old, new in pairs:
        if text.count(old) != 1:
            raise ModelError(f"to be replaced once, but there {text.count(old)} times: {old!r}")
        text = text.replace(old, new)
    return text


def explore_all(jobs: Sequence[Job], processes: int = 2) -> list[Result]:
    """Explore each job, ``processes`` at a time. Each may take some hundred megabytes of memory."""
    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(explore, jobs))


def explore(job: Job) -> Result:
    """Explore a model completely, or until the first error. Raises ModelError if that is impossible."""
    lasting = "CALM" in job.bounds  # then the property is about infinite paths
    fair = "SIEGE" in job.bounds  # the attacker does not rest, and yet the others move on
    options = [*([] if lasting else ["-DSAFETY"]), *(["-DNFAIR=3"] if fair else [])]
    with tempfile.TemporaryDirectory(prefix="dpe-spin-") as folder:
        Path(folder, "model.pml").write_text(job.model, encoding="utf-8")
        _run(folder, "spin", *(f"-D{name}={value}" for name, value in job.bounds.items()), "-a", "model.pml")
        _run(folder, "cc", "-O1", "-w", "-DNOREDUCE", *options, "-o", "pan", "pan.c")
        return parse(_run(folder, "./pan", f"-m{DEPTH}", *(["-a"] if lasting else []), *(["-f"] if fair else [])))


def _run(folder: str, program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise ModelError(f"{program} exited {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def parse(output: str) -> Result:
    """Read what the search printed."""
    for fault in ("max search depth too small", "out of memory"):
        if fault in output:
            raise ModelError(f"the search found: {fault}")
    violated = None
    error = re.search(r"^pan:1: (?:assertion violated )?(.*) \(at depth", output, re.MULTILINE)
    if error is not None:
        claim = re.search(r"^\s+never claim\s+\+ \((\w+)\)", output, re.MULTILINE)
        violated = claim[1] if claim and error[1] == "acceptance cycle" else error[1]
    elif "Search not completed" in output:
        raise ModelError("the search was not completed")
    return Result(
        states=_number(r"(\S+) states, stored", output),
        transitions=_number(r"(\S+) transitions", output),
        depth=_number(r"depth reached (\d+)", output),
        violated=violated,
        unreached=Counter(_unreached(output)),
    )


def _number(pattern: str, output: str) -> int:
    found = re.search(pattern, output)
    if found is None:
        raise ModelError(f"the search did not tell its size:\n{output[-2000:]}")
    return int(float(found[1]))


def _unreached(output: str) -> list[str]:
    """Return the lines of the model with unreached statements, once for each statement."""
    return re.findall(r'^\t\S+?:(\d+), state \d+, "(?!-end-)', output, re.MULTILINE)


def statements(model: str, unreached: Counter[str]) -> Counter[str]:
    """Return the text of these lines of the model, except what only a violated property would reach."""
    lines = model.splitlines()
    found: Counter[str] = Counter()
    for number, count in unreached.items():
        text = lines[int(number) - 1].strip()
        if not re.search(r"\b(REQUIRE|VIOLATED)\(", text):
            found[text] = count
    return found


def missing() -> list[str]:
    """Return which of the needed programs are missing on this machine."""
    return [program for program in ("spin", "cc") if shutil.which(program) is None]


def reached_by_none(results: Sequence[Result]) -> Counter[str]:
    """Return what no run reached."""
    common: Any = results[0].unreached
    for result in results[1:]:
        common = common & result.unreached
    return Counter(common)
