"""What a bundle's manifest is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from training.manifest import new_version

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_two_trainings_in_one_second_have_versions_of_their_own_in_the_order_of_time() -> None:
    versions = [new_version("Shop & Co.", NOON + timedelta(milliseconds=passed)) for passed in (0, 1, 250, 1_000)]

    assert versions[0] == "shop-co-20260301-120000-000"
    assert versions == sorted(set(versions))
