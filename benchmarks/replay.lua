-- Sends the requests of a file round and round, for benchmarks/load.py. What FOLLOW_PATTERN finds in an answer is put into
-- FOLLOW_TEMPLATE in place of {}, and that is sent next.
dofile("benchmarks/figures.lua")
local requests, number, found = {}, 0, {}
local pattern, template = os.getenv("FOLLOW_PATTERN"), os.getenv("FOLLOW_TEMPLATE")
local file = io.open(os.getenv("REQUESTS"), "rb")
local length = file:read("*n")
while length do
  file:read(1)
  requests[#requests + 1] = file:read(length)
  length = file:read("*n")
end
file:close()

function request()
  local id = table.remove(found)
  if id then return (template:gsub("{}", id)) end
  number = number % #requests + 1
  return requests[number]
end

if pattern then
  function response(status, headers, body)
    local id = body:match(pattern)
    if id then found[#found + 1] = id end
  end
end
