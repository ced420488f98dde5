local hs = { status = "Progressing", message = "the operator has not looked at it yet" }
local seen = {}
for _, condition in ipairs(obj.status ~= nil and obj.status.conditions or {}) do
  if condition.observedGeneration == obj.metadata.generation then
    seen[condition.type] = condition
  end
end
-- a person is to say what comes next, or it waits its turn
local waiting = { Paused = true, Queued = true, AwaitingPromotion = true, Aborted = true, RolledBack = true }
local refused = { GateRefused = true, DigestsDiffer = true }
local ready, current, stalled = seen.Ready, seen.UpToDate, seen.Stalled
if stalled ~= nil and stalled.status == "True" then
  hs.status, hs.message = "Degraded", stalled.message
elseif current ~= nil and refused[current.reason] then
  hs.status, hs.message = "Degraded", current.message
elseif current ~= nil and waiting[current.reason] then
  hs.status, hs.message = "Suspended", current.message
elseif ready ~= nil and current ~= nil then
  hs.message = current.message
  if current.status == "True" and (ready.status == "True" or ready.reason == "ScaledToZero") then
    hs.status = "Healthy"
  end
end
return hs
