-- What wrk sends and tells: the same request with one key after another; the figures as JSON.
-- Arguments: METHOD PATH BODY_FILE KEYS_FILE ("-" for no body).

local requests, turn = {}, 0

init = function(arguments)
  local method, path, body_file, keys_file = arguments[1], arguments[2], arguments[3], arguments[4]
  local body
  if body_file ~= "-" then
    local file = assert(io.open(body_file, "rb"))
    body = file:read("*a")
    file:close()
  end
  for key in io.lines(keys_file) do
    local headers = { authorization = "Bearer " .. key }
    if body then headers["content-type"] = "application/json" end
    requests[#requests + 1] = wrk.format(method, path, headers, body)
  end
end

request = function()
  turn = turn % #requests + 1
  return requests[turn]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"done": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50_ms": %.4f, "p90_ms": %.4f, "p99_ms": %.4f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3))
end
