-- What wrk asks, by SIDE (waule or peer) and SCENARIO, for benchmarks/beside.py.
dofile("benchmarks/figures.lua")
local side, scenario = os.getenv("SIDE"), os.getenv("SCENARIO")
local model, key = os.getenv("MODEL"), os.getenv("KEY")
local headers = { ["x-internal-secret"] = os.getenv("INTERNAL_SECRET"), ["content-type"] = "application/json" }
local tenants, run, count = {}, "", 0
if side == "waule" then for line in io.lines(os.getenv("TENANTS")) do tenants[#tenants + 1] = line end end

function init()
  math.randomseed(tonumber(os.getenv("SEED")))
  run = string.format("%x%x", os.time(), math.random(0, 1e9))
end

local function number() return scenario == "charge hot" and 2 or math.random(1, 10000) end

local function use()
  if side == "peer" then
    return string.format('{"targetType":"user","targetId":"u%d","modelId":"m1","operation":"image","quantity":%d', number(), math.random(1, 3))
  end
  return string.format('{"targetType":"tenant","targetId":"%s","modelId":"%s","operation":"image","quantity":%d', tenants[number()], model, math.random(1, 3))
end

local function batch()
  local items = {}
  for item = 1, 100 do items[item] = use() .. string.format(',"idempotencyKey":"%s-%d-%d"}', run, count, item) end
  return '{"charges":[' .. table.concat(items, ",") .. "]}"
end

function request()
  count = count + 1
  headers["idempotency-key"] = run .. "-" .. count
  if scenario:sub(1, 6) == "charge" then return wrk.format("POST", "/internal/billing/charge", headers, use() .. "}") end
  if scenario == "hold" then return wrk.format("POST", "/internal/billing/holds", headers, use() .. "}") end
  headers["idempotency-key"] = nil
  if scenario == "batch" then return wrk.format("POST", "/internal/billing/charges/batch", headers, batch()) end
  local named = side == "peer" and { "user", "u" .. number(), "t" .. number(), "key-" .. number() } or { "tenant", tenants[number()], tenants[number()], key }
  if scenario == "balance" then return wrk.format("GET", "/internal/billing/balance?targetType=" .. named[1] .. "&targetId=" .. named[2], headers) end
  if scenario == "by-apikey" then headers["x-api-key"] = named[4]; return wrk.format("GET", "/internal/tenants/by-apikey", headers) end
  if scenario == "image" then
    headers["authorization"] = "Bearer " .. key
    return wrk.format("POST", "/v1/images/generations", headers, '{"model":"waits","prompt":"a bench"}')
  end
  if scenario == "models" then headers["authorization"] = "Bearer " .. key; return wrk.format("GET", "/v1/models", headers) end
  return wrk.format("POST", "/internal/storage/record", headers, string.format('{"tenantId":"%s","bytes":%d}', named[3], math.random(1, 100000)))
end
