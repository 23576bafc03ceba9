"""The diagnosis of a run: its errors, its recorded norms, and the units of its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..experiment import prepare_again
from ..files import read_json
from ..model import load_model, precision
from ..record import Record
from ..runs import RunFolder
from ..train import Learner
from .finding import Finding, plural
from .flow import LayerFlow, fading_finding, flow_findings, layer_flows
from .judgement import TOLERANCE, Judgement, judge
from .units import LayerUnits, layer_units, unit_findings


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        run: the name of the run.
        judgement: its bias and variance.
        findings: what is wrong, in the order in which it should be mended.
        flows: the norms of its layers, from input to output; none, if none were recorded.
        units: the units of its activations, from input to output.
    """

    run: str
    judgement: Judgement
    findings: tuple[Finding, ...]
    flows: tuple[LayerFlow, ...]
    units: tuple[LayerUnits, ...]

    @property
    def measured(self) -> str:
        """What the findings could rest on."""
        norms = f"the recorded norms of {plural(len(self.flows), 'layer')}"
        if not self.flows:
            norms = "no recorded norms (set record.layers to 1)"
        units = f"the units of {plural(len(self.units), 'activation')}"
        return f"Looked at: the errors, {norms}, and {units}."

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "run": self.run,
            "judgement": self.judgement.row(),
            "findings": [finding.row() for finding in self.findings],
            "layers": [flow.row() for flow in self.flows],
            "units": [layer.row() for layer in self.units],
        }

    def __str__(self) -> str:
        found = [f"- {finding}" for finding in self.findings] or ["Nothing was found wrong."]
        return "\n".join([str(self.judgement), *found, self.measured])


def diagnose(
    path: Path,
    *,
    best_error: float = 0.0,
    tolerance: float = TOLERANCE,
    data_dir: Path | None = None,
) -> Diagnosis:
    """Diagnose a run that has ended, well or by diverging.

    The errors and the units are measured anew, of the model that the run ended with.

    Args:
        path: the folder of the run.
        best_error: the error that is assumed to be the best possible: the share of wrong classes,
            or 1 − R².
        tolerance: the excess from which on an error counts.
        data_dir: where data sets lie.

    Raises:
        CheckpointError: it is no run, has no whole model, or its data have changed.
        ConfigError: best_error or tolerance is out of range.
        DataError: the data are missing or broken.
    """
    model, folder = load_model(path), RunFolder.open(path)
    model.experiment.refuse_peers("a diagnosis")
    with precision(model.experiment):
        prepared = prepare_again(folder, model.experiment, data_dir)
        task, learner = prepared.task, Learner(model.params, model.state, ())
        parts = {name: part for name, part in prepared.measured().items() if name != "test"}
        errors = {name: _error(part.evaluate(task, learner)) for name, part in parts.items()}
        units = layer_units(task, model.params, model.state, parts["train"].chunks())
    counts = None
    if task.classifies and "validation" in errors:
        examples = prepared.examples()
        counts = len(examples["train"]), len(examples["validation"])
    judgement = judge(
        errors["train"],
        errors.get("validation"),
        best=best_error,
        tolerance=tolerance,
        counts=counts,
    )
    rows = list(Record.read(folder.metrics).rows("layers"))
    flows = layer_flows(rows, list(dict.fromkeys(node.owner for node in task.net.nodes)))
    faults = [*_diverged(folder), *flow_findings(flows), *unit_findings(units)]
    if judgement.bias_grade != "low":
        faults += fading_finding(rows)
    # A network that cannot learn has a bias: what keeps it from learning comes first.
    return Diagnosis(
        path.resolve().name,
        judgement,
        (*faults, *judgement.findings()),
        tuple(flows),
        tuple(units),
    )


def _error(evaluation: dict[str, Any]) -> float:
    """The share of wrong classes, or of the variance that is not explained."""
    return 1 - evaluation["accuracy" if "accuracy" in evaluation else "r2"]


def _diverged(folder: RunFolder) -> list[Finding]:
    result = read_json(folder.result)
    if result["status"] != "diverged":
        return []
    says = f"after step {result['steps']}: {result['message']}."
    next = "a lower learning rate (`pullback lr-range` suggests one), a warm-up, or clipping"
    return [Finding("diverged", says, next, {"steps": result["steps"]})]
