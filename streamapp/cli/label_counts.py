"""What became of labels, in words."""

from streamapp.lifecycle.labels import LabelCounts


def counts_sentence(counts: LabelCounts) -> str:
    """One line."""
    return (
        f"{counts.labels:,} labels: {counts.unknown:,} of no payment read, {counts.early:,} older"
        f" than their payment, {counts.repeated:,} repeated, {counts.contradicting:,}"
        f" contradicting, {counts.late:,} late"
    )
