"""Several pages of metrics make one that Prometheus can read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from include.observability.exposition import Exposition, merged

ODD = st.sampled_from(["a", "b", "\n# HELP evergreen_rows x", "# HELP x\n# TYPE x gauge", '"\\', "", " é\x85 "])
SAMPLES = st.dictionaries(st.tuples(st.sampled_from(["rows", "share"]), ODD), st.integers(0, 9), max_size=8)


def samples(page: bytes) -> list[tuple[str, str, dict[str, str], float]]:
    """Type, name, labels and value of each sample, as Prometheus' client reads them."""
    families = list(text_string_to_metric_families(page.decode()))
    assert len({family.name for family in families}) == len(families)
    return sorted(
        ((family.type, one.name, one.labels, one.value) for family in families for one in family.samples), key=str
    )


@given(st.lists(SAMPLES, max_size=4))
def test_a_merged_page_has_each_metric_once_with_the_samples_of_all(pages: list[dict[tuple[str, str], int]]) -> None:
    whole, parts = Exposition(), []
    for number, given_samples in enumerate(pages):
        part = Exposition()
        for (name, label), value in given_samples.items():
            for page in (whole, part):
                page.set(name, f"The {name}.", value, model=str(number), feature=label)
        parts.append(part.page())
    assert samples(merged(parts)) == samples(whole.page())
