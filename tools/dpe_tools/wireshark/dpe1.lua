-- DPE-1 for Wireshark: the messages of registrations, and of sessions where OSCORE (RFC 8613) was opened.
--
--   tshark -X lua_script:dpe1.lua -r FILE        wireshark -X lua_script:dpe1.lua FILE
--
-- CoAP (RFC 7252) hands over what has Content-Format 60. Of that, this takes what is of DPE-1: the payloads of
-- /dpe/register, what follows under OSCORE with a kid of 7 bytes, and what looks like one of the four messages where the
-- request was not captured. Everything else goes to the dissector of CBOR.
--
-- Handles stay opaque and no security token is checked here, because both take keys: see `dpe inspect --pcap`.
-- For Lua 5.2 to 5.4, so there are no operators on bits. SPDX-License-Identifier: Apache-2.0

local dpe1 = Proto("dpe1", "OMA Device Profile Evolution, DPE-1")

-- As in dpe1.cddl; a test compares them.
local TYPES = { [1] = "DPE_REGISTER_REQUEST", [2] = "DPE_REGISTER_RESPONSE", [3] = "DPE_REGISTER_SUCCESS", [4] = "CONFIRM" }
local REQUEST, RESPONSE, SUCCESS, CONFIRM = 1, 2, 3, 4
local STATUSES = {
  [0] = "ok", [1] = "version-not-supported", [2] = "refused", [3] = "unavailable", [4] = "suite-too-weak",
  [5] = "reprovision", [6] = "redirect", [16] = "declined", [17] = "version-unacceptable", [18] = "storage-failure",
  [19] = "aborted", [32] = "released", [33] = "superseded",
}
local OK, REDIRECT = 0, 6
local PROPERTIES = {
  [0] = "battery", [1] = "firmware", [2] = "roaming", [3] = "free_memory", [4] = "language", [5] = "last_reboot",
  [6] = "orientation", [7] = "headset", [8] = "bearer", [9] = "signal", [10] = "display",
}
local ATTRIBUTES = {
  [0] = "pmin", [1] = "pmax", [2] = "gt", [3] = "lt", [4] = "st", [5] = "band", [6] = "edge", [16] = "roaming",
}
local MAX_PAYLOAD, MAX_SESSION_MESSAGE, MAX_PROPERTIES, MAX_DEPTH = 256, 1024, 64, 4

local f = {
  message = ProtoField.uint8("dpe1.message", "message", base.DEC, TYPES, nil, "Which of the four messages this is"),
  handle = ProtoField.bytes("dpe1.imei", "IMEI", base.NONE, "Sealed for the server: the handle, which stays opaque"),
  handle_key = ProtoField.uint8("dpe1.imei.handle_key", "sealed under handle key", base.DEC),
  clear = ProtoField.bytes("dpe1.imei.clear", "IMEI", base.NONE, "In clear: only where the server's policy allows it"),
  version = ProtoField.string("dpe1.version", "DPE Version", base.ASCII),
  client_id = ProtoField.bytes("dpe1.client_id", "Client_ID", base.NONE, "Later the OSCORE Sender ID (RFC 8613 section 3)"),
  status = ProtoField.uint8("dpe1.status", "Status", base.DEC, STATUSES),
  next_handle = ProtoField.bytes("dpe1.next_handle", "next handle", base.NONE, "Encrypted for the device"),
  x25519 = ProtoField.bytes("dpe1.x25519_key", "X25519 key", base.NONE, "Ephemeral public key (RFC 7748)"),
  firmware = ProtoField.string("dpe1.firmware", "firmware", base.UNICODE),
  uri = ProtoField.string("dpe1.server_uri", "server URI", base.UNICODE, "Where to register instead (RFC 7252 section 6)"),
  lifetime = ProtoField.uint32("dpe1.lifetime", "lifetime", base.DEC, nil, nil, "Of the session, in seconds"),
  retry_after = ProtoField.uint32("dpe1.retry_after", "retry after", base.DEC, nil, nil, "Seconds"),
  token = ProtoField.bytes("dpe1.security_token", "Security Token", base.NONE, "HMAC-SHA-256, cut to 16 bytes (RFC 2104)"),
  nonce = ProtoField.bytes("dpe1.security_token.nonce", "nonce", base.NONE),
  mac = ProtoField.bytes("dpe1.security_token.mac", "MAC", base.NONE),
  other = ProtoField.bytes("dpe1.ignored", "not of this message: ignored", base.NONE),
  session = ProtoField.string("dpe1.session", "session message", base.ASCII, "Protected by OSCORE (RFC 8613)"),
  etag = ProtoField.bytes("dpe1.policy_etag", "policy etag", base.NONE, "SHA-256 of what the device is told, cut to 4 bytes"),
  session_lifetime = ProtoField.uint32("dpe1.session.lifetime", "lifetime", base.DEC, nil, nil, "Seconds from now"),
  property = ProtoField.string("dpe1.property", "property", base.UNICODE, "Its name, or its number if it has none"),
  value = ProtoField.string("dpe1.property.value", "value", base.UNICODE, "In diagnostic notation (RFC 8949 section 8)"),
  policy = ProtoField.string("dpe1.policy", "policy", base.UNICODE, "A property that is to be reported"),
  condition = ProtoField.string("dpe1.policy.condition", "condition", base.ASCII,
    "When it is due (draft-ietf-core-conditional-attributes)"),
}
dpe1.fields = (function() local all = {} for _, field in pairs(f) do all[#all + 1] = field end return all end)()

local e = {
  encoding = ProtoExpert.new("dpe1.malformed.encoding",
    "not one map in deterministic encoding (RFC 8949 section 4.2.1)", expert.group.MALFORMED, expert.severity.ERROR),
  field = ProtoExpert.new("dpe1.malformed.field",
    "a field is missing, or not as the schema says (RFC 8610, dpe1.cddl)", expert.group.MALFORMED, expert.severity.ERROR),
  size = ProtoExpert.new("dpe1.malformed.size",
    "too large: 4.13 (RFC 7252 section 5.9.2.9)", expert.group.MALFORMED, expert.severity.ERROR),
  clear = ProtoExpert.new("dpe1.imei_in_clear",
    "the IMEI is sent in clear, which only a laboratory allows", expert.group.SECURITY, expert.severity.WARN),
  refused = ProtoExpert.new("dpe1.not_ok", "the status is not ok", expert.group.RESPONSE_CODE, expert.severity.NOTE),
  ignored = ProtoExpert.new("dpe1.unknown_label",
    "a label that this message does not define: receivers ignore it", expert.group.UNDECODED, expert.severity.NOTE),
}
dpe1.experts = (function() local all = {} for _, one in pairs(e) do all[#all + 1] = one end return all end)()

local code = Field.new("coap.code")
local coap_token = Field.new("coap.token")
local path = Field.new("coap.opt.uri_path")
local kid = Field.new("coap.opt.object_security_kid")
local inner_code = Field.new("oscore.code")
local inner_path = Field.new("oscore.opt.uri_path")
local cbor = Dissector.get("cbor")

-- Strict CBOR (RFC 8949 section 4.2.1), on a string. Offsets begin at 0. A fault is an error with a table.

local UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = 0, 1, 2, 3, 4, 5, 6, 7
local SMALLEST = { [24] = 24, [25] = 256, [26] = 65536, [27] = 4294967296 }

local function fail(text, at, kind) error({ text = text, at = at, kind = kind or "encoding" }, 0) end

local function octet(data, at) return data:byte(at + 1) or fail("truncated", #data) end

local function number_at(data, at, size)
  local value = 0
  for n = 0, size - 1 do value = value * 256 + octet(data, at + n) end
  return value
end

-- The argument of a head as a double, which is exact below 2^53, and the offset behind it.
local function head(data, at)
  local first = octet(data, at)
  local major, info = math.floor(first / 32), first % 32
  if info < 24 then return info, at + 1, major, info end
  if info > 27 then fail(info == 31 and "indefinite length" or "reserved additional information", at) end
  local size = 2 ^ (info - 24)
  local value = number_at(data, at + 1, size)
  if major ~= SIMPLE and value < SMALLEST[info] then fail("non-shortest head", at) end
  return value, at + 1 + size, major, info
end

local function is_above(one, other)
  for n = 1, math.min(#one, #other) do
    local a, b = one:byte(n), other:byte(n)
    if a ~= b then return a > b end
  end
  return #one > #other
end

-- RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF.
local function check_text(data, at, stop)
  local function between(where, least, most)
    local one = where < stop and data:byte(where + 1) or -1
    if one < least or one > most then fail("text is not UTF-8", at) end
  end
  while at < stop do
    local one = data:byte(at + 1)
    local more = one < 0x80 and 0 or one >= 0xC2 and one < 0xE0 and 1 or one >= 0xE0 and one < 0xF0 and 2
      or one >= 0xF0 and one < 0xF5 and 3 or fail("text is not UTF-8", at)
    if more > 0 then
      between(at + 1, one == 0xE0 and 0xA0 or one == 0xF0 and 0x90 or 0x80,
        one == 0xED and 0x9F or one == 0xF4 and 0x8F or 0xBF)
      for n = 2, more do between(at + n, 0x80, 0xBF) end
    end
    at = at + 1 + more
  end
end

-- Sign, exponent and mantissa of a float's bits at an offset.
local FLOATS = { [25] = { 2, 10, 15 }, [26] = { 4, 23, 127 }, [27] = { 8, 52, 1023 } }

local function float_parts(data, at, info)
  local size, bits, bias = FLOATS[info][1], FLOATS[info][2], FLOATS[info][3]
  local first = number_at(data, at + 1, size == 8 and 4 or size)
  local rest, low = 0, 0
  if size == 8 then rest, low = 32, number_at(data, at + 5, 4) end
  local top = 2 ^ (bits - rest)
  local exponent = math.floor(first / top) % (2 * bias + 2)
  local sign = first >= top * (2 * bias + 2) and -1 or 1
  return sign, exponent, (first % top) * 2 ^ rest + low, bits, bias
end

local function shortens(data, at, info)
  local _, exponent, mantissa, bits, bias = float_parts(data, at, info)
  local short_bits, short_bias = FLOATS[info - 1][2], FLOATS[info - 1][3]
  local lost = bits - short_bits
  if exponent == 0 then return mantissa == 0 end
  if exponent ~= 2 * bias + 1 then
    local power = exponent - bias
    if power > short_bias then return false end
    if power <= -short_bias then
      lost = lost + 1 - short_bias - power
      mantissa = mantissa + 2 ^ bits
    end
  end
  return mantissa % 2 ^ lost == 0
end

local function skip(data, at, depth)
  local argument, after, major, info = head(data, at)
  if major == BYTES or major == TEXT then
    if after + argument > #data then fail("truncated", #data) end
    if major == TEXT then check_text(data, after, after + argument) end
    return after + argument
  end
  if major == ARRAY or major == MAP or major == TAG then
    if depth == MAX_DEPTH then fail("nested deeper than " .. MAX_DEPTH, at) end
    local last = ""
    local count = major == TAG and 1 or argument
    while count > 0 do
      if major == MAP then
        local stop = skip(data, after, depth + 1)
        local key = data:sub(after + 1, stop)
        if not is_above(key, last) then fail("duplicate or unordered key", after) end
        last, after = key, stop
      end
      after = skip(data, after, depth + 1)
      count = count - 1
    end
    return after
  end
  if major == SIMPLE then
    if info == 24 and argument < 32 then fail("non-shortest head", at) end
    if (info == 26 or info == 27) and shortens(data, at, info) then fail("non-shortest float", at) end
  end
  return after
end

-- Puts where the value of each label lies in `found`, in order, for as long as the encoding is good.
local function find_fields(data, longest, last_label, found)
  if #data == 0 then fail("no item: the message is empty", 0) end
  local count, at, major = head(data, 0)
  if major ~= MAP then fail("not a map", 0) end
  if #data > longest then fail("longer than " .. longest .. " bytes", longest, "size") end
  local last = ""
  while count > 0 do
    local label, value, of = head(data, at)
    if of ~= UNSIGNED or label > last_label then fail("a key is not an unsigned number up to its limit", at) end
    local key = data:sub(at + 1, value)
    if not is_above(key, last) then fail("duplicate or unordered key", at) end
    local stop = skip(data, value, 0)
    found[#found + 1] = { label = label, key = at, start = value, stop = stop }
    last, at, count = key, stop, count - 1
  end
  if at ~= #data then fail("bytes after the map", at) end
end

local function note(tree, fault)
  tree:add_proto_expert_info(e[fault.kind], fault.text .. ", offset " .. fault.at .. ": " .. ({
    encoding = "not deterministically encoded (RFC 8949 section 4.2.1)",
    field = "not as the schema says (RFC 8610, dpe1.cddl)",
    size = "too large, answered with 4.13 (RFC 7252 section 5.9.2.9)",
  })[fault.kind])
end

-- The diagnostic notation of a number, a text or a simple value (RFC 8949 section 8).
local function notation(data, range, at, stop)
  local argument, after, major, info = head(data, at)
  local function integer()
    return info == 27 and tostring(range(at + 1, 8):uint64()) or ("%.0f"):format(argument)
  end
  if major == UNSIGNED then return integer() end
  if major == NEGATIVE then
    if info == 27 then return tostring(Int64.new(-1) - range(at + 1, 8):int64()) end
    return ("%.0f"):format(-1 - argument)
  end
  if major == TEXT then return '"' .. data:sub(after + 1, stop) .. '"' end
  if major == BYTES then return "h'" .. data:sub(after + 1, stop):gsub(".", function(c)
    return ("%02x"):format(c:byte()) end) .. "'" end
  if major ~= SIMPLE then return "" end
  if info == 20 then return "false" elseif info == 21 then return "true" elseif info == 22 then return "null" end
  if info < 25 then return "simple(" .. argument .. ")" end
  local sign, exponent, mantissa, bits, bias = float_parts(data, at, info)
  if exponent == 2 * bias + 1 then return mantissa > 0 and "NaN" or sign > 0 and "Infinity" or "-Infinity" end
  local value = exponent == 0 and mantissa * 2 ^ (1 - bias - bits) or (1 + mantissa / 2 ^ bits) * 2 ^ (exponent - bias)
  local least, text = value >= 1 and value < 1e16 and #("%.0f"):format(math.floor(value)) or 1
  for digits = least, 17 do -- the shortest that is read as the same number
    text = ("%." .. digits .. "g"):format(sign * value)
    if tonumber(text) == sign * value then break end
  end
  return text:find("[.e]") and text or text .. ".0"
end

-- The four messages of a registration. Each field is shown by a function that is given its place.

local function sized(sizes, what)
  return function(data, one)
    local argument, after, major = head(data, one.start)
    if major ~= BYTES or not sizes[argument] then fail(what, one.start, "field") end
    return after
  end
end

local function limited(least, most, what)
  return function(data, one)
    local argument, _, major = head(data, one.start)
    if major ~= UNSIGNED or argument < least or argument > most then fail(what, one.start, "field") end
    return argument
  end
end

local function show_text(field, name, most)
  return function(tree, range, data, one)
    local argument, after, major = head(data, one.start)
    if major ~= TEXT or argument < 1 or argument > most then
      fail(name .. " is not text of 1 to " .. most .. " bytes", one.start, "field")
    end
    tree:add(field, range(one.start, one.stop - one.start), data:sub(after + 1, one.stop))
  end
end

local function show_bytes(field, sizes, what)
  local check = sized(sizes, what)
  return function(tree, range, data, one)
    local after = check(data, one)
    return tree:add(field, range(after, one.stop - after)), after
  end
end

local function show_number(field, least, most, what)
  local check = limited(least, most, what)
  return function(tree, range, data, one)
    local value = check(data, one)
    return tree:add(field, range(one.start, one.stop - one.start), value), value
  end
end

local function show_identity(tree, range, data, one)
  local after = sized({ [17] = true, [7] = true }, "identity is not 17 or 7 bytes")(data, one)
  if one.stop - after == 7 then
    tree:add(f.clear, range(after, 7)):add_proto_expert_info(e.clear)
  else
    tree:add(f.handle, range(after, 17)):add(f.handle_key, range(after, 1))
  end
end

local function show_version(tree, range, data, one)
  local count, at, major = head(data, one.start)
  local parts = {}
  if major == ARRAY and count == 2 then
    for n = 1, 2 do
      local value, after, of = head(data, at)
      if of == UNSIGNED and value < 256 then parts[n] = ("%d"):format(value) end
      at = after
    end
  end
  if not (parts[1] and parts[2]) then fail("version is not two numbers of 0 to 255", one.start, "field") end
  tree:add(f.version, range(one.start, one.stop - one.start), parts[1] .. "." .. parts[2])
end

local function show_token(size, name)
  local show = show_bytes(f.token, { [size] = true }, "security token is not " .. size .. " bytes")
  return function(tree, range, data, one)
    local item, after = show(tree, range, data, one)
    if name then item:set_text(name .. ": " .. tostring(range(after, size):bytes()):lower()) end
    if size == 32 then item:add(f.nonce, range(after, 16)) end
    item:add(f.mac, range(one.stop - 16, 16))
  end
end

local show_status = show_number(f.status, 0, 255, "status is not a number of 0 to 255")
local show_client_id = show_bytes(f.client_id, { [7] = true }, "Client ID is not 7 bytes")
local show_x25519 = show_bytes(f.x25519, { [32] = true }, "X25519 key is not 32 bytes")
local SHOWS = {
  [REQUEST] = {
    [1] = show_identity, [2] = show_version, [6] = show_x25519, [7] = show_text(f.firmware, "firmware", 32),
    [23] = show_token(32, "Token"),
  },
  [RESPONSE] = {
    [2] = show_version, [3] = show_client_id, [4] = show_status, [6] = show_x25519,
    [5] = show_bytes(f.next_handle, { [17] = true }, "sealed handle is not 17 bytes"),
    [8] = show_text(f.uri, "server URI", 128),
    [10] = show_number(f.retry_after, 0, 4294967295, "retry after is not a number of 0 to 4294967295"),
    [23] = show_token(32),
  },
  [SUCCESS] = { [3] = show_client_id, [4] = show_status, [23] = show_token(16) },
  [CONFIRM] = {
    [4] = show_status, [9] = show_number(f.lifetime, 0, 4294967295, "lifetime is not a number of 0 to 4294967295"),
    [23] = show_token(16),
  },
}
local REQUIRED = { [REQUEST] = { 1, 2, 23 }, [RESPONSE] = { 2, 4, 23 }, [SUCCESS] = { 3, 4, 23 }, [CONFIRM] = { 4, 23 } }
local NAMES = { "identity", "version", "Client ID", "status", "sealed handle", [8] = "server URI", [23] = "security token" }
local ONLY_WITH = { [3] = OK, [5] = OK, [8] = REDIRECT }

local function try(tree, act, ...)
  local done, one, other = pcall(act, ...)
  if done then return one, other end
  if type(one) ~= "table" then error(one, 0) end
  note(tree, one)
end

local function registration(tree, range, data, pinfo)
  local found, places = {}, {}
  try(tree, find_fields, data, MAX_PAYLOAD, 23, found)
  for _, one in ipairs(found) do places[one.label] = one end
  local kind
  if not places[0] then
    note(tree, { text = "message type missing", at = 0, kind = "field" })
  else
    local value, _, major = head(data, places[0].start)
    kind = major == UNSIGNED and TYPES[value] and value
    if not kind then note(tree, { text = "unknown message type", at = places[0].start, kind = "field" }) end
  end
  if not kind then return end
  tree:append_text(", " .. TYPES[kind])
  pinfo.cols.info:append(" " .. TYPES[kind])
  tree:add(f.message, range(places[0].start, 1), kind)
  local status
  for n, one in ipairs(found) do
    local show = SHOWS[kind][one.label]
    if show then
      local item, value = try(tree, show, tree, range, data, one)
      if show == show_status and value then
        status = value
        pinfo.cols.info:append(" " .. (STATUSES[value] or value))
        if value ~= OK then item:add_proto_expert_info(e.refused) end
      end
    elseif n > 1 then
      tree:add(f.other, range(one.key, one.stop - one.key)):add_proto_expert_info(e.ignored)
    end
  end
  for _, label in ipairs(REQUIRED[kind]) do
    if not places[label] then note(tree, { text = NAMES[label] .. " missing", at = #data, kind = "field" }) end
  end
  if kind == RESPONSE and status then
    for label, only in pairs(ONLY_WITH) do
      if (places[label] ~= nil) ~= (status == only) then
        local at = places[label] and places[label].start or #data
        note(tree, { text = NAMES[label] .. " is there exactly when the status is " .. only, at = at, kind = "field" })
      end
    end
  end
end

-- The messages of a session.

local function property_at(data, at)
  local argument, after, major = head(data, at)
  if major == UNSIGNED and argument <= 65535 then return PROPERTIES[argument] or ("%d"):format(argument), after end
  if major == TEXT and argument >= 1 and argument <= 32 then
    return data:sub(after + 1, after + argument), after + argument
  end
  fail("a property is neither a number up to 65535 nor text of 1 to 32 bytes", at, "field")
end

local function check_scalar(data, at)
  local argument, after, major, info = head(data, at)
  if major == UNSIGNED or major == NEGATIVE then
    if info == 27 and octet(data, at + 1) > 127 then fail("an integer of more than 64 bits", at, "field") end
  elseif major == SIMPLE and info >= 25 then
    local _, exponent, _, _, bias = float_parts(data, at, info)
    if exponent == 2 * bias + 1 then fail("a float is NaN or infinite", at, "field") end
  elseif not (major == SIMPLE and (info == 20 or info == 21)) then
    fail("a value is of a wrong type", at, "field")
  end
  return after
end

local function check_value(data, at)
  local argument, after, major, info = head(data, at)
  if major == BYTES or major == TEXT then
    if argument > 256 then fail("a value is longer than 256 bytes", at, "size") end
    return after + argument
  end
  if major == SIMPLE and info == 22 then return after end
  return check_scalar(data, at)
end

local function map_at(data, one, name)
  local count, at, major = head(data, one.start)
  if major ~= MAP then fail(name .. ": not a map", one.start, "field") end
  if count > MAX_PROPERTIES then fail("more than " .. MAX_PROPERTIES .. " properties", one.start, "size") end
  return count, at
end

local function show_properties(tree, range, data, one)
  local count, at = map_at(data, one, "properties")
  if count == 0 then fail("no property: a refresh leaves label 1 out", one.start, "field") end
  for _ = 1, count do
    local name, value = property_at(data, at)
    local stop = check_value(data, value)
    local said = notation(data, range, value, stop)
    local item = tree:add(f.property, range(at, stop - at), name)
    item:append_text(" = " .. said)
    item:add(f.value, range(value, stop - value), said)
    at = stop
  end
end

local function show_policies(tree, range, data, one)
  local count, at = map_at(data, one, "policies")
  for _ = 1, count do
    local begin = at
    local name, conditions = property_at(data, at)
    local number, inner, major = head(data, conditions)
    if major ~= MAP then fail("conditions: not a map", conditions, "field") end
    local said = {}
    for n = 1, number do
      local attribute, setting, of = head(data, inner)
      if of ~= UNSIGNED or attribute > 65535 then fail("an attribute is not a number of 0 to 65535", inner, "field") end
      local stop = check_scalar(data, setting)
      said[n] = { inner, stop, (ATTRIBUTES[attribute] or attribute) .. " = " .. notation(data, range, setting, stop) }
      inner = stop
    end
    at = inner
    local item = tree:add(f.policy, range(begin, at - begin), name)
    if number == 0 then item:append_text(": every change") end
    for _, each in ipairs(said) do item:add(f.condition, range(each[1], each[2] - each[1]), each[3]) end
  end
end

local show_etag = show_bytes(f.etag, { [4] = true }, "policy etag is no byte string of 4 bytes")
local SESSION = {
  report = { [0] = show_etag, [1] = show_properties },
  answer = {
    [0] = show_etag, [3] = show_policies,
    [2] = show_number(f.session_lifetime, 60, 4294967295, "lifetime is not a number of 60 to 4294967295"),
  },
}
local NEEDED = { report = {}, answer = { [0] = "policy etag", [3] = "policies" } }

local function session(tree, range, data, pinfo, kind)
  tree:append_text(", dpe-" .. kind)
  pinfo.cols.info:append(" dpe-" .. kind)
  tree:add(f.session, range(0, #data), "dpe-" .. kind)
  local found, places = {}, {}
  try(tree, find_fields, data, MAX_SESSION_MESSAGE, 2 ^ 64, found)
  for _, one in ipairs(found) do
    places[one.label] = one
    local show = SESSION[kind][one.label]
    if show then
      try(tree, show, tree, range, data, one)
    else
      tree:add(f.other, range(one.key, one.stop - one.key)):add_proto_expert_info(e.ignored)
    end
  end
  for label, name in pairs(NEEDED[kind]) do
    if not places[label] then note(tree, { text = name .. " missing", at = #data, kind = "field" }) end
  end
end

-- Which of DPE-1's messages a payload is; nil: none. An answer does not say what it is about, so requests are remembered:
-- those of registrations with their CoAP token, and for sessions who spoke in one.

local asked = {}
function dpe1.init() asked = {} end

local function last(field)
  local all = { field() }
  return all[#all] and all[#all].value
end

local function joined(field)
  local parts = {}
  for n, one in ipairs({ field() }) do parts[n] = one.value end
  return table.concat(parts, "/")
end

local function between(from, from_port, to, to_port)
  return ("%s %s %s %s"):format(tostring(from), from_port, tostring(to), to_port)
end

local function kind_of(data, pinfo)
  local there = between(pinfo.src, pinfo.src_port, pinfo.dst, pinfo.dst_port)
  local back = between(pinfo.dst, pinfo.dst_port, pinfo.src, pinfo.src_port)
  local token = tostring(last(coap_token))
  local a, b, c = data:byte(1, 3)
  local inner = last(inner_code)
  if inner then
    if inner < 32 then
      if joined(inner_path) ~= "dpe" or #tostring(last(kid)) ~= 14 then return nil end -- 7 bytes in hex
      asked[there] = "session"
      return "report"
    end
    local looks = c and a > 0xA1 and a < 0xB8 and b == 0 and c == 0x44
    return inner < 96 and (asked[back] == "session" or looks) and "answer" or nil
  end
  local looks = c and a > 0xA2 and a < 0xB8 and b == 0 and c >= 1 and c <= 4
  if last(code) < 32 then
    asked[there .. token] = joined(path)
    return joined(path) == "dpe/register" and "registration" or nil
  end
  local about = asked[back .. token]
  return (about == "dpe/register" or not about and looks) and "registration" or nil
end

function dpe1.dissector(tvb, pinfo, root)
  local range = tvb:range()
  local data = tvb:raw()
  local kind = kind_of(data, pinfo)
  if not kind then return cbor:call(tvb, pinfo, root) end
  pinfo.cols.protocol = "DPE-1"
  local tree = root:add(dpe1, range)
  if kind == "registration" then
    registration(tree, range, data, pinfo)
  else
    session(tree, range, data, pinfo, kind)
  end
  return tvb:len()
end

DissectorTable.get("media_type"):add("application/cbor", dpe1)
