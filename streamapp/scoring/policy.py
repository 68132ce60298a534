"""What a deployment decides about verdicts, beside the model."""

from dataclasses import dataclass

from streamapp.domain.verdict import Severity
from streamapp.scoring.calibration import DEFAULT_CUTOFFS


@dataclass(frozen=True, slots=True)
class Policy:
    """Cut-offs of the risk score and what is worth an alert or a reason.

    cutoffs: lowest risk score of MEDIUM, HIGH, CRITICAL. anomaly_severity: from it on a verdict
    is an anomaly. explain_severity: from it on a verdict carries reasons; None: none does.
    time_zone: IANA name of the zone in which hours and weekdays are read.
    """

    cutoffs: tuple[float, float, float] = DEFAULT_CUTOFFS
    anomaly_severity: Severity = Severity.MEDIUM
    explain_severity: Severity | None = Severity.MEDIUM
    time_zone: str = "UTC"
