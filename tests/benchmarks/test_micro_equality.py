"""The benchmark of stages holds each to the library it replaces, before it times any."""

from benchmarks.micro_equality import verify
from benchmarks.micro_material import Material


def test_every_stage_equals_what_it_replaces() -> None:
    """As `make bench` does over a hundred thousand payments, here over a few thousand."""
    material = Material.of(5_000)
    assert f"sealed profiles of {material.users} users come back" == verify(material)[-1]
