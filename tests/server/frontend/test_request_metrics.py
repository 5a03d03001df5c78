from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from service.frontend.request_metrics import _observe_all


@given(st.lists(st.floats(0, 20, allow_nan=False), max_size=200))
def test_values_observed_together_count_as_values_observed_one_by_one(values: list[float]) -> None:
    registry = CollectorRegistry()
    together, alone = (Histogram(name, name, registry=registry) for name in ("together", "alone"))
    _observe_all(together, values)
    for value in values:
        alone.observe(value)
    samples = {(s.name, s.labels.get("le")): s.value for m in registry.collect() for s in m.samples}
    for (name, le), value in samples.items():
        if name.startswith("alone") and not name.endswith(("_sum", "_created")):
            assert samples[name.replace("alone", "together"), le] == value
