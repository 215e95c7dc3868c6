-- What wrk prints at the end, for benchmarks/load.py: answers, microseconds, p50 and p99 in microseconds, and how many were no success.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
