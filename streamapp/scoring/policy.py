"""What a deployment decides about verdicts, beside the model."""

from dataclasses import dataclass, replace

from streamapp.domain.verdict import Severity
from streamapp.scoring.calibration import DEFAULT_CUTOFFS
from streamapp.scoring.severity_budget import Cutoffs


@dataclass(frozen=True, slots=True)
class Policy:
    """Cut-offs of the risk score and what is worth an alert or a reason.

    cutoffs: lowest risk score of MEDIUM, HIGH, CRITICAL. cutoffs_version: their name where
    they were taken over. anomaly_severity: from it on a verdict is an anomaly. explain_severity:
    from it on a verdict carries reasons; None: none does.
    time_zone: IANA name of the zone in which hours and weekdays are read.
    """

    cutoffs: tuple[float, float, float] = DEFAULT_CUTOFFS
    anomaly_severity: Severity = Severity.MEDIUM
    explain_severity: Severity | None = Severity.MEDIUM
    time_zone: str = "UTC"
    cutoffs_version: str | None = None

    def steered(self, cutoffs: Cutoffs) -> "Policy":
        """The same with cut-offs that were taken over."""
        return replace(self, cutoffs=cutoffs.risks, cutoffs_version=cutoffs.name)
