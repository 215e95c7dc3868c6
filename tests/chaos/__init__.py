"""Chaos: a seeded workload on waule's own processes while everything around it fails, and a model of what must be true.

`schedule` draws what happens from the seed; `callers` make the calls and `model` keeps what their answers promise; `faults` break
and mend servers, workers, database, broker, bucket and provider; `checks` compare model, provider, ledger and database at the
end. `scripts/chaos` runs it by hand, `tests/crash/test_chaos.py` for a minute in CI.
"""
