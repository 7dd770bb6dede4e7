-- Wireshark dissector of GIST (RFC 5971) and of PBS NSLP (draft-hong-nsis-pbs-nslp-02 to -04, with the numbers of
-- docs/protocol.md). README.md beside this file says how to use it. Keeps to what Lua 5.2 and 5.4 have in common.
--
-- Packets are hostile: every read goes through a Reader, which never leaves its bounds, and lists are capped.
--
-- SPDX-License-Identifier: GPL-2.0-or-later

local gist = Proto("gist", "General Internet Signalling Transport")
local pbs = Proto("pbs", "Permission-Based Sending")

local GIST_PORT = 270
local MAGIC = 0x4e04bda5
local PBS_NSLPID = 32704
local HEADER = 8
local OBJECT_HEADER = 4
local TCP_PORT_TYPE = 2
local UDP_PORT_TYPE = 3

-- Most objects and list entries that are shown of one message: Wireshark ends on a million lines in one packet.
local MAX_LISTED = 256

gist.prefs.tls_ports = Pref.range("TLS ports", "5270", "Ports of messaging associations over TLS", 65535)
gist.prefs.tcp_ports = Pref.range("TCP ports", "", "Ports of messaging associations over plain TCP", 65535)
gist.prefs.heuristic = Pref.bool(
  "Recognise associations on any TCP port", true,
  "Ports of associations are agreed upon in the handshake: look for GIST in TCP connections of unknown use")
pbs.prefs.show_keys = Pref.bool("Show IPsec keys", false, "Show the key in a Defense object; else its length only")
pbs.prefs.certificates = Pref.bool("Dissect certificates", true, "Hand certificates to the X.509 dissector")

---------------------------------------------------------------------------------------------------------------------
-- Fields

-- Returns a function that declares a field, and the table of all declared so far by short name.
local function declarer(proto, prefix)
  local by_name, list = {}, {}
  local function declare(kind, name, ...)
    local field = ProtoField[kind](prefix .. "." .. name, ...)
    by_name[name] = field
    list[#list + 1] = field
  end
  local function done() proto.fields = list end
  return declare, by_name, done
end

local AB_NAMES = {
  [0] = "Mandatory: who does not know it refuses the message",
  [1] = "Ignore: who does not know it deletes it",
  [2] = "Forward: who does not know it passes it on unchanged",
  [3] = "Reserved",
}

local NSLP_NAMES = { [0] = "None", [33] = "NATFW", [PBS_NSLPID] = "PBS" }
for id = 1, 32 do NSLP_NAMES[id] = "QoS" end

local GIST_TYPE = { query = 0, response = 1, confirm = 2, data = 3, error = 4, hello = 5 }
local GIST_TYPE_NAMES = {
  [0] = "Query", [1] = "Response", [2] = "Confirm", [3] = "Data", [4] = "Error", [5] = "MA-Hello",
}
local T = {
  mri = 0, sid = 1, nli = 2, proposal = 3, configuration = 4, query_cookie = 5, responder_cookie = 6,
  nat_traversal = 7, data = 8, error = 9, hello_id = 10,
}
local GIST_OBJECT_NAMES = {
  [0] = "Message-Routing-Information", [1] = "Session-ID", [2] = "Network-Layer-Information",
  [3] = "Stack-Proposal", [4] = "Stack-Configuration-Data", [5] = "Query-Cookie", [6] = "Responder-Cookie",
  [7] = "NAT-Traversal", [8] = "NSLP-Data", [9] = "Error", [10] = "Hello-ID",
}
local MRM_NAMES = { [0] = "Path-coupled", [1] = "Loose-end" }
local MA_PROTOCOL_NAMES = { [1] = "Forwards-TCP", [2] = "TLS", [3] = "SCTP", [4] = "DTLS" }
local ERROR_CLASS_NAMES = {
  [0] = "Informational", [1] = "Success", [2] = "Protocol error", [3] = "Transient failure",
  [4] = "Permanent failure",
}
local ERROR_CODE_NAMES = {
  [1] = "Common Header Parse Error", [2] = "Hop Limit Exceeded", [3] = "Incorrect Encapsulation",
  [4] = "Incorrectly Delivered Message", [5] = "No Routing State", [6] = "Unknown NSLPID",
  [7] = "Endpoint Found", [8] = "Message Too Large", [9] = "Object Type Error", [10] = "Object Value Error",
  [11] = "Invalid IP TTL", [12] = "MRI Validation Failure",
}
local ERROR_SUBCODE_NAMES = {
  [1] = {
    [0] = "Unknown Version", [1] = "Unknown Type", [2] = "Invalid R-flag", [3] = "Incorrect Message Length",
    [4] = "Invalid E-flag", [5] = "Invalid C-flag",
  },
  [9] = {
    [0] = "Duplicate Object", [1] = "Unrecognised Object", [2] = "Missing Object", [3] = "Invalid Object Type",
    [4] = "Untranslated Object", [5] = "Invalid Extensibility Flags",
  },
  [10] = {
    [0] = "Incorrect Length", [1] = "Value Not Supported", [2] = "Invalid Flag-Field Combination",
    [3] = "Empty List", [4] = "Invalid Cookie", [5] = "Stack-Proposal - Stack-Configuration-Data Mismatch",
  },
  [12] = { [0] = "MRI Too Wild", [1] = "IP Version Mismatch", [2] = "Ingress Filter Failure" },
}
local INFO_NAMES = {
  [1] = "Message Length Info", [2] = "MTU Info", [3] = "Object Type Info", [4] = "Object Value Info",
}
local IP_PROTOCOL_NAMES = { [1] = "ICMP", [6] = "TCP", [17] = "UDP", [51] = "AH", [58] = "ICMPv6", [132] = "SCTP" }
local DIRECTIONS = { "upstream", "downstream" }
local MILLISECONDS = { " ms", " ms" }

local declare, G, done = declarer(gist, "gist")
declare("uint32", "magic", "Magic number", base.HEX)
declare("uint8", "version", "Version", base.DEC)
declare("uint8", "hops", "GIST hops", base.DEC)
declare("uint16", "length", "Message length in 32-bit words", base.DEC)
declare("uint16", "nslpid", "NSLPID", base.DEC, NSLP_NAMES)
declare("bool", "flags.c", "C: Query mode", 8, nil, 0x80)
declare("uint8", "type", "Message type", base.DEC, GIST_TYPE_NAMES, 0x7f)
declare("bool", "flags.s", "S: the IP source is the signalling source", 8, nil, 0x80)
declare("bool", "flags.r", "R: an answer is asked for", 8, nil, 0x40)
declare("bool", "flags.e", "E: explicitly routed", 8, nil, 0x20)
declare("uint8", "flags.reserved", "Reserved", base.HEX, nil, 0x1f)
declare("none", "object", "Object")
declare("uint16", "object.ab", "A/B", base.DEC, AB_NAMES, 0xc000)
declare("uint16", "object.reserved1", "Reserved", base.HEX, nil, 0x3000)
declare("uint16", "object.type", "Object type", base.DEC, GIST_OBJECT_NAMES, 0x0fff)
declare("uint16", "object.reserved2", "Reserved", base.HEX, nil, 0xf000)
declare("uint16", "object.length", "Length of the value in 32-bit words", base.DEC, nil, 0x0fff)
declare("bytes", "object.value", "Value")
declare("bytes", "padding", "Padding")
declare("bytes", "trailing", "Bytes left over")
declare("uint8", "mri.method", "Message routing method", base.DEC, MRM_NAMES)
declare("bool", "mri.n", "N: NATs need not translate", 8, nil, 0x80)
declare("uint8", "mri.reserved1", "Reserved", base.HEX, nil, 0x7f)
declare("uint16", "mri.ip_version", "IP version", base.DEC, nil, 0xf000)
declare("bool", "mri.p", "P: the protocol counts", 16, nil, 0x0800)
declare("bool", "mri.t", "T: the DS field counts", 16, nil, 0x0400)
declare("bool", "mri.f", "F: the flow label counts", 16, nil, 0x0200)
declare("bool", "mri.s", "S: the SPI counts", 16, nil, 0x0100)
declare("bool", "mri.a", "A: the source port counts", 16, nil, 0x0080)
declare("bool", "mri.b", "B: the destination port counts", 16, nil, 0x0040)
declare("bool", "mri.d", "D: direction", 16, DIRECTIONS, 0x0020)
declare("uint16", "mri.reserved2", "Reserved", base.HEX, nil, 0x001f)
declare("bool", "mri.loose_end.d", "D: direction", 16, DIRECTIONS, 0x0800)
declare("uint16", "mri.loose_end.reserved", "Reserved", base.HEX, nil, 0x07ff)
declare("ipv4", "mri.source.ipv4", "Source address")
declare("ipv4", "mri.destination.ipv4", "Destination address")
declare("ipv6", "mri.source.ipv6", "Source address")
declare("ipv6", "mri.destination.ipv6", "Destination address")
declare("uint8", "mri.source_prefix", "Source prefix", base.DEC)
declare("uint8", "mri.destination_prefix", "Destination prefix", base.DEC)
declare("uint8", "mri.protocol", "Protocol", base.DEC, IP_PROTOCOL_NAMES)
declare("uint8", "mri.dscp", "DS field", base.HEX, nil, 0xfc)
declare("uint8", "mri.reserved3", "Reserved", base.HEX, nil, 0x03)
declare("uint32", "mri.reserved4", "Reserved", base.HEX, nil, 0xfff00000)
declare("uint32", "mri.flow_label", "Flow label", base.HEX, nil, 0x000fffff)
declare("uint32", "mri.spi", "SPI", base.HEX)
declare("uint16", "mri.source_port", "Source port", base.DEC)
declare("uint16", "mri.destination_port", "Destination port", base.DEC)
declare("bytes", "mri.data", "Data of the routing method")
declare("bytes", "sid", "Session-ID")
declare("uint8", "nli.identity_length", "Peer-Identity length", base.DEC)
declare("uint8", "nli.ip_ttl", "IP TTL", base.DEC)
declare("uint16", "nli.ip_version", "IP version", base.DEC, nil, 0xf000)
declare("uint16", "nli.reserved", "Reserved", base.HEX, nil, 0x0fff)
declare("uint32", "nli.validity", "Routing-state validity time", base.UNIT_STRING, MILLISECONDS)
declare("bytes", "nli.identity", "Peer-Identity")
declare("ipv4", "nli.address.ipv4", "Interface address")
declare("ipv6", "nli.address.ipv6", "Interface address")
declare("uint8", "sp.count", "Number of profiles", base.DEC)
declare("uint24", "sp.reserved", "Reserved", base.HEX)
declare("none", "sp.profile", "Profile")
declare("uint8", "sp.profile.length", "Number of protocols", base.DEC)
declare("uint8", "sp.profile.protocol", "MA-Protocol-ID", base.DEC, MA_PROTOCOL_NAMES)
declare("uint8", "scd.count", "Number of protocol options", base.DEC)
declare("uint24", "scd.reserved", "Reserved", base.HEX)
declare("uint32", "scd.hold_time", "MA-Hold-Time", base.UNIT_STRING, MILLISECONDS)
declare("none", "scd.option", "Protocol option")
declare("uint8", "scd.option.protocol", "MA-Protocol-ID", base.DEC, MA_PROTOCOL_NAMES)
declare("uint8", "scd.option.profile", "Profile", base.DEC, { [0] = "all" })
declare("uint8", "scd.option.length", "Length in bytes", base.DEC)
declare("bool", "scd.option.d", "D: not to be used", 8, nil, 0x80)
declare("uint8", "scd.option.reserved", "Reserved", base.HEX, nil, 0x7f)
declare("uint16", "scd.option.port", "Port", base.DEC)
declare("bytes", "scd.option.data", "Options data")
declare("bytes", "query_cookie", "Query-Cookie")
declare("bytes", "responder_cookie", "Responder-Cookie")
declare("uint8", "nat.mri_length", "MRI length in 32-bit words", base.DEC)
declare("uint8", "nat.type_count", "Number of translated object types", base.DEC)
declare("uint8", "nat.nat_count", "Number of NATs", base.DEC)
declare("uint8", "nat.reserved", "Reserved", base.HEX)
declare("none", "nat.mri", "Original Message-Routing-Information")
declare("uint16", "nat.type", "Translated object type", base.DEC, GIST_OBJECT_NAMES)
declare("none", "nat.entry", "Information of a NAT")
declare("uint16", "nat.entry.length", "Length in bytes", base.DEC)
declare("bytes", "nat.entry.data", "Opaque information")
declare("bytes", "data", "NSLP data")
declare("uint8", "error.class", "Error class", base.DEC, ERROR_CLASS_NAMES)
declare("uint16", "error.code", "Error code", base.DEC, ERROR_CODE_NAMES)
declare("uint8", "error.subcode", "Error subcode", base.DEC)
declare("string", "error.name", "Error")
declare("bool", "error.s", "S: a Session-ID follows", 16, nil, 0x8000)
declare("bool", "error.m", "M: an MRI follows", 16, nil, 0x4000)
declare("bool", "error.c", "C: a comment follows", 16, nil, 0x2000)
declare("bool", "error.d", "D: the message came in datagram mode", 16, nil, 0x1000)
declare("bool", "error.q", "Q: the message came in Query mode", 16, nil, 0x0800)
declare("uint16", "error.reserved", "Reserved", base.HEX, nil, 0x07ff)
declare("uint8", "error.mri_length", "MRI length in 32-bit words", base.DEC)
declare("uint8", "error.info_count", "Number of additional information fields", base.DEC)
declare("none", "error.header", "Common header of the message at fault")
declare("bytes", "error.sid", "Session-ID of the message at fault")
declare("none", "error.mri", "Message-Routing-Information of the message at fault")
declare("none", "error.info", "Additional information")
declare("uint16", "error.info.type", "Type", base.DEC, INFO_NAMES)
declare("uint16", "error.info.length", "Length in 32-bit words", base.DEC)
declare("uint16", "error.info.message_length", "Calculated message length in 32-bit words", base.DEC)
declare("uint16", "error.info.mtu", "MTU", base.DEC)
declare("uint16", "error.info.object_type", "Object type", base.DEC, GIST_OBJECT_NAMES, 0x0fff)
declare("uint16", "error.info.reserved", "Reserved", base.HEX)
declare("uint16", "error.info.reserved1", "Reserved", base.HEX, nil, 0xf000)
declare("uint16", "error.info.real_length", "Real object length in 32-bit words", base.DEC, nil, 0x0fff)
declare("uint16", "error.info.offset", "Offset of the error in the object", base.DEC)
declare("bytes", "error.info.object", "Object at fault")
declare("bytes", "error.info.data", "Data")
declare("string", "error.comment", "Comment")
declare("uint32", "hello_id", "Hello-ID", base.HEX)
done()

local PBS_TYPE = { query = 1, permission = 2, notify = 3 }
local PBS_TYPE_NAMES = { [1] = "Query", [2] = "Permission", [3] = "Notify" }
local O = {
  fid = 1, sequence = 2, requested = 3, sent = 4, allowed = 5, ttl = 6, refresh = 7, certificate = 8, defense = 9,
  authentication = 10, volume_high = 128, info = 129, algorithms = 130, mark = 131, epoch = 132, hop_report = 133,
  path_support = 134, summary = 135, tree_path = 136, listed = 137, ticket = 138,
  predecessor = 140,
}
local PBS_OBJECT_NAMES = {
  [1] = "FID", [2] = "Message-Seq", [3] = "Req-vol", [4] = "Send-vol", [5] = "Allow-vol", [6] = "TTL",
  [7] = "Refresh", [8] = "PK-cert", [9] = "Defense", [10] = "Auth-data", [128] = "Volume-high", [129] = "INFO",
  [130] = "Algorithms", [131] = "Mark", [132] = "Epoch", [133] = "Hop-report", [134] = "Path-support",
  [135] = "Summary", [136] = "Tree-path", [137] = "Listed", [138] = "Ticket", [140] = "Predecessor",
}
-- Bytes of a node's key identity.
local IDENTITY = 16
local SOLUTION_NAMES = {
  [1] = "No action", [2] = "AH with a symmetric key", [3] = "AH with a public key", [4] = "Change path",
}
local ALGORITHM_NAMES = {
  [0] = "None", [1] = "HMAC-SHA1", [2] = "HMAC-SHA-256", [3] = "HMAC-MD5", [4] = "RSA-1024", [5] = "RSA-2048",
  [6] = "ECC-160", [7] = "ECC-224", [8] = "DSA-1024", [9] = "DSA-2048", [10] = "As in the X.509 certificate",
  [128] = "HMAC-SHA-384", [129] = "AES-CMAC", [130] = "ECDSA P-256", [131] = "Ed25519",
  [132] = "Hash tree, RSA-2048", [133] = "Hash tree, P-256", [134] = "Hash tree, Ed25519",
}
local PBS_INFO_CODE_NAMES = {
  [1] = "Pending", [2] = "Malformed", [3] = "Unknown object", [4] = "Flow mismatch", [5] = "Bad signature",
  [6] = "Certificate refused", [7] = "Replayed", [8] = "Refused by policy", [9] = "Volume exhausted",
  [10] = "Lifetime over", [11] = "Revoked", [12] = "Rate limited", [13] = "Table full", [14] = "No answer",
  [15] = "Unsupported algorithm", [16] = "Not a permission node", [17] = "Refresh singly", [18] = "Busy",
  [20] = "No other path",
}

local declare_pbs, P, done_pbs = declarer(pbs, "pbs")
declare_pbs("uint8", "type", "Message type", base.DEC, PBS_TYPE_NAMES)
declare_pbs("uint24", "reserved", "Reserved", base.HEX)
declare_pbs("none", "object", "Object")
declare_pbs("uint32", "object.ab", "A/B", base.DEC, AB_NAMES, 0xc0000000)
declare_pbs("uint32", "object.reserved1", "Reserved", base.HEX, nil, 0x30000000)
declare_pbs("uint32", "object.type", "Object type", base.DEC, PBS_OBJECT_NAMES, 0x0ff00000)
declare_pbs("uint32", "object.reserved2", "Reserved", base.HEX, nil, 0x000f0000)
declare_pbs("uint32", "object.length", "Length of the value in bytes", base.DEC, nil, 0x0000ffff)
declare_pbs("bytes", "object.value", "Value")
declare_pbs("bytes", "padding", "Padding")
declare_pbs("bytes", "trailing", "Bytes left over")
declare_pbs("uint32", "fid.ip_version", "IP version", base.DEC, nil, 0xf0000000)
declare_pbs("uint32", "fid.protocol", "Protocol", base.DEC, IP_PROTOCOL_NAMES, 0x0ff00000)
declare_pbs("uint32", "fid.reserved", "Reserved", base.HEX, nil, 0x000fffff)
declare_pbs("uint16", "fid.source_port", "Source port", base.DEC)
declare_pbs("uint16", "fid.destination_port", "Destination port", base.DEC)
declare_pbs("ipv4", "fid.source.ipv4", "Source address")
declare_pbs("ipv4", "fid.destination.ipv4", "Destination address")
declare_pbs("ipv6", "fid.source.ipv6", "Source address")
declare_pbs("ipv6", "fid.destination.ipv6", "Destination address")
declare_pbs("uint32", "sequence", "Message sequence number", base.DEC)
declare_pbs("uint32", "requested.low", "Requested volume, low word", base.DEC)
declare_pbs("uint32", "sent.low", "Sent volume, low word", base.DEC)
declare_pbs("uint32", "allowed.low", "Allowed volume, low word", base.DEC)
declare_pbs("uint32", "requested.high", "Requested volume, high word", base.DEC)
declare_pbs("uint32", "sent.high", "Sent volume, high word", base.DEC)
declare_pbs("uint32", "allowed.high", "Allowed volume, high word", base.DEC)
declare_pbs("uint64", "requested", "Requested volume in bytes", base.DEC)
declare_pbs("uint64", "sent", "Sent volume in bytes", base.DEC)
declare_pbs("uint64", "allowed", "Allowed volume in bytes", base.DEC)
declare_pbs("uint32", "ttl", "TTL", base.UNIT_STRING, MILLISECONDS)
declare_pbs("uint32", "refresh", "Refresh time", base.UNIT_STRING, MILLISECONDS)
declare_pbs("bytes", "certificate", "Certificate")
declare_pbs("uint8", "defense.solution", "Solution", base.DEC, SOLUTION_NAMES)
declare_pbs("uint8", "defense.algorithm", "Auth algorithm", base.DEC, ALGORITHM_NAMES)
declare_pbs("bool", "defense.spi_present", "An SPI follows", 16, nil, 0x8000)
declare_pbs("uint16", "defense.reserved", "Reserved", base.HEX, nil, 0x7fff)
declare_pbs("uint32", "defense.spi", "SPI", base.HEX)
declare_pbs("uint32", "defense.key_length", "IPsec key length in bytes", base.DEC)
declare_pbs("bytes", "defense.key", "IPsec key")
declare_pbs("bytes", "authentication", "Signature")
declare_pbs("uint8", "algorithm", "Algorithm that the sender can do", base.DEC, ALGORITHM_NAMES)
declare_pbs("bool", "mark.has_heard", "Heard holds", 32, nil, 1)
declare_pbs("bool", "mark.has_association", "SPI and sequence number hold", 32, nil, 2)
declare_pbs("bool", "mark.has_bytes", "Bytes hold", 32, nil, 4)
declare_pbs("uint32", "mark.reserved", "Reserved", base.HEX, nil, 0xfffffff8)
declare_pbs("uint32", "mark.epoch", "Epoch", base.DEC)
declare_pbs("uint32", "mark.heard", "Sequence number of the Permission heard", base.DEC)
declare_pbs("uint32", "mark.spi", "SPI", base.HEX)
declare_pbs("uint32", "mark.sequence", "AH sequence number", base.DEC)
declare_pbs("uint64", "mark.bytes", "Bytes up to that packet", base.DEC)
declare_pbs("bool", "epoch.ask", "A Query is wanted at once", 32, nil, 1)
declare_pbs("uint32", "epoch.reserved", "Reserved", base.HEX, nil, 0xfffffffe)
declare_pbs("uint32", "epoch.number", "Epoch", base.DEC)
declare_pbs("uint64", "epoch.start", "Starts at bytes", base.DEC)
declare_pbs("uint32", "epoch.overlap.duration", "Overlap", base.UNIT_STRING, MILLISECONDS)
declare_pbs("uint32", "epoch.overlap.bytes", "Overlap in bytes", base.DEC)
declare_pbs("bytes", "epoch.mover", "Key identity of the router to change the path")
declare_pbs("bytes", "report.node", "Key identity of the router")
declare_pbs("uint32", "report.epoch", "Epoch", base.DEC)
declare_pbs("uint64", "report.counted", "Counted bytes", base.DEC)
declare_pbs("uint32", "report.sequence", "Sequence number of the Query", base.DEC)
declare_pbs("uint32", "report.certificate_length", "Length of the certificate", base.DEC)
declare_pbs("bytes", "report.certificate", "Certificate")
declare_pbs("bytes", "report.signature", "Signature")
declare_pbs("bool", "support.patient", "The answer may wait for others", 32, nil, 0x00000004)
declare_pbs("bool", "support.summary", "Summaries", 32, nil, 0x00000002)
declare_pbs("bool", "support.tree", "Hash trees", 32, nil, 0x00000001)
declare_pbs("none", "listed", "Listed flow")
declare_pbs("bytes", "listed.sid", "Session-ID")
declare_pbs("uint32", "listed.sequence", "Message sequence number", base.DEC)
declare_pbs("uint64", "listed.sent", "Sent volume in bytes", base.DEC)
declare_pbs("uint64", "listed.allowed", "Allowed volume in bytes", base.DEC)
declare_pbs("uint32", "listed.epoch", "Epoch", base.DEC)
declare_pbs("uint32", "listed.heard", "Message sequence number of the Permission heard", base.DEC)
declare_pbs("uint32", "listed.ttl", "TTL", base.UNIT_STRING, MILLISECONDS)
declare_pbs("uint32", "listed.refresh", "Refresh time", base.UNIT_STRING, MILLISECONDS)
declare_pbs("uint8", "tree.algorithm", "Algorithm", base.DEC, { [1] = "SHA-256" })
declare_pbs("uint24", "tree.reserved", "Reserved", base.HEX)
declare_pbs("uint16", "tree.leaves", "Number of leaves", base.DEC)
declare_pbs("uint16", "tree.index", "Place of this leaf", base.DEC)
declare_pbs("bytes", "tree.sibling", "Hash beside the way")
declare_pbs("bytes", "ticket.node", "Key identity of the busy node")
declare_pbs("uint32", "ticket.due", "Good from, by that node's clock", base.DEC)
declare_pbs("uint8", "ticket.bits", "Bits of the puzzle", base.DEC)
declare_pbs("uint24", "ticket.reserved", "Reserved", base.HEX)
declare_pbs("bytes", "ticket.seal", "Seal")
declare_pbs("bytes", "ticket.nonce", "Nonce")
declare_pbs("uint8", "info.class", "Class", base.DEC, ERROR_CLASS_NAMES)
declare_pbs("uint8", "info.code", "Code", base.DEC, PBS_INFO_CODE_NAMES)
declare_pbs("uint8", "info.object_type", "About object type", base.DEC, PBS_OBJECT_NAMES)
declare_pbs("uint8", "info.reserved", "Reserved", base.HEX)
declare_pbs("uint32", "info.retry_after", "Retry after", base.UNIT_STRING, MILLISECONDS)
declare_pbs("string", "info.text", "Text")
done_pbs()

---------------------------------------------------------------------------------------------------------------------
-- Expert information

local function experts(proto, prefix)
  local function expert_of(name, text, group, severity)
    return ProtoExpert.new(prefix .. ".expert." .. name, text, group, severity)
  end
  local MALFORMED, ERROR, WARN, NOTE =
    expert.group.MALFORMED, expert.severity.ERROR, expert.severity.WARN, expert.severity.NOTE
  local all = {
    length = expert_of("length", "A length is wrong", MALFORMED, ERROR),
    value = expert_of("value", "A value is not allowed", expert.group.PROTOCOL, WARN),
    flags = expert_of("flags", "Flags are not allowed here", expert.group.PROTOCOL, WARN),
    objects = expert_of("objects", "Objects are not those of the message", expert.group.PROTOCOL, WARN),
    unknown = expert_of("unknown", "Unknown", expert.group.UNDECODED, NOTE),
    cut = expert_of("cut", "The capture has only a part of this", expert.group.UNDECODED, NOTE),
    key = expert_of("key", "A secret key is shown", expert.group.SECURITY, NOTE),
  }
  local list = {}
  for _, one in pairs(all) do list[#list + 1] = one end
  proto.experts = list
  return all
end

local GX = experts(gist, "gist")
local PX = experts(pbs, "pbs")

local function complain(tree, which, ...)
  tree:add_proto_expert_info(which, string.format(...))
end

---------------------------------------------------------------------------------------------------------------------
-- Reader: a bounded walk over bytes

local Reader = {}
Reader.__index = Reader

-- Raised where bytes are missing; caught by `guarded`.
local SHORT = {}

-- `cut`: the bounds are those of the capture, not of the message.
local function reader(tvb, at, stop, cut)
  return setmetatable({ tvb = tvb, at = at, stop = stop, cut = cut or false }, Reader)
end

function Reader:left() return self.stop - self.at end

-- The next n bytes; n of 0 is an error of the caller.
function Reader:take(n)
  if n > self:left() then error(SHORT, 0) end
  local range = self.tvb(self.at, n)
  self.at = self.at + n
  return range
end

-- Shows the next n bytes as a field, and returns them.
function Reader:add(tree, field, n)
  local range = self:take(n)
  tree:add(field, range)
  return range
end

-- The same for an unsigned number of at most 4 bytes; fields that share the bytes may follow. Returns the first's value.
function Reader:number(tree, n, ...)
  local range = self:take(n)
  for _, field in ipairs({ ... }) do tree:add(field, range) end
  return range:uint()
end

-- Shows n bytes if there are any to show.
function Reader:optional(tree, field, n)
  if n > 0 then return self:add(tree, field, n) end
  return nil
end

-- What is left, shown as a field.
function Reader:rest(tree, field)
  return self:optional(tree, field, self:left())
end

-- The next n bytes as bounds of their own. What the capture lacks is missed when it is read.
function Reader:sub(n)
  local stop = self.at + n
  local cut = false
  if stop > self.stop then
    if not self.cut then error(SHORT, 0) end
    stop, cut = self.stop, true
  end
  local inner = reader(self.tvb, self.at, stop, cut)
  self.at = stop
  return inner
end

-- The bytes of this Reader as a range for a subtree. Never empty: bytes before the end stand in for none.
function Reader:range()
  local length = self:left()
  if length > 0 then return self.tvb(self.at, length) end
  return self.tvb(math.max(0, self.at - 1), 1)
end

-- Runs a parser that may find too few bytes; says so in the tree. Returns whether all bytes were there.
local function guarded(tree, x, r, parse, ...)
  local fine, problem = pcall(parse, ...)
  if not fine and problem ~= SHORT then error(problem, 0) end
  if fine and not r.cut then return true end
  if r.cut then
    complain(tree, x.cut, "The capture has only a part of this")
  else
    complain(tree, x.length, "The value is cut short")
  end
  return false
end

-- Complains about what a parser left over.
local function expect_end(tree, x, trailing, r)
  if r:left() <= 0 then return end
  complain(tree, x.length, "%d bytes are left over", r:left())
  r:rest(tree, trailing)
end

local function padding(length) return (-length) % 4 end

local function name_of(names, value, what)
  return names[value] or string.format("%s %d", what, value)
end

-- An address of the IP version; nil, with a complaint, where the version is neither 4 nor 6.
local function add_address(tree, r, version, ipv4, ipv6)
  if version == 4 then return tostring(r:add(tree, ipv4, 4):ipv4()) end
  return tostring(r:add(tree, ipv6, 16):ipv6())
end

local function known_version(tree, x, version)
  if version == 4 or version == 6 then return true end
  complain(tree, x.value, "IP version %d is not known", version)
  return false
end

-- "source:port → destination:port protocol" for the summary line.
local function flow_text(flow)
  local function side(address, port)
    if port == nil then return address end
    return string.format(flow.version == 6 and "[%s]:%d" or "%s:%d", address, port)
  end
  local text = side(flow.source, flow.source_port) .. " → " .. side(flow.destination, flow.destination_port)
  if flow.protocol == nil then return text end
  return text .. " " .. name_of(IP_PROTOCOL_NAMES, flow.protocol, "protocol")
end

---------------------------------------------------------------------------------------------------------------------
-- GIST objects. A parser gets the object's subtree, a Reader over the value, and what the message knows so far.

local function add_flow_label_and_ports(tree, r, flags, flow)
  if flags.f then r:number(tree, 4, G["mri.reserved4"], G["mri.flow_label"]) end
  if flags.s then r:number(tree, 4, G["mri.spi"]) end
  if not (flags.a or flags.b) then return end
  local source = r:number(tree, 2, G["mri.source_port"])
  local destination = r:number(tree, 2, G["mri.destination_port"])
  if flags.a then flow.source_port = source end
  if flags.b then flow.destination_port = destination end
end

local function parse_path_coupled(tree, r, flow)
  local range = r:take(2)
  for _, name in ipairs({ "ip_version", "p", "t", "f", "s", "a", "b", "d", "reserved2" }) do
    tree:add(G["mri." .. name], range)
  end
  local function bit(n) return range:bitfield(n, 1) == 1 end
  local flags = { p = bit(4), f = bit(6), s = bit(7), a = bit(8), b = bit(9) }
  flow.version = range:bitfield(0, 4)
  if not known_version(tree, GX, flow.version) then return r:rest(tree, G["mri.data"]) end
  if flags.f and flow.version == 4 then complain(tree, GX.flags, "A flow label needs IPv6") end
  if (flags.s or flags.a or flags.b) and not flags.p then
    complain(tree, GX.flags, "SPI and ports need a protocol")
  end
  flow.source = add_address(tree, r, flow.version, G["mri.source.ipv4"], G["mri.source.ipv6"])
  flow.destination = add_address(tree, r, flow.version, G["mri.destination.ipv4"], G["mri.destination.ipv6"])
  local longest = flow.version == 4 and 32 or 128
  for _, name in ipairs({ "mri.source_prefix", "mri.destination_prefix" }) do
    if r:number(tree, 1, G[name]) > longest then complain(tree, GX.value, "The prefix is too long") end
  end
  local protocol = r:number(tree, 1, G["mri.protocol"])
  if flags.p then flow.protocol = protocol end
  r:number(tree, 1, G["mri.dscp"], G["mri.reserved3"])
  add_flow_label_and_ports(tree, r, flags, flow)
end

local function parse_loose_end(tree, r, flow)
  local range = r:take(2)
  for _, name in ipairs({ "ip_version", "loose_end.d", "loose_end.reserved" }) do tree:add(G["mri." .. name], range) end
  flow.version = range:bitfield(0, 4)
  if not known_version(tree, GX, flow.version) then return r:rest(tree, G["mri.data"]) end
  flow.source = add_address(tree, r, flow.version, G["mri.source.ipv4"], G["mri.source.ipv6"])
  flow.destination = add_address(tree, r, flow.version, G["mri.destination.ipv4"], G["mri.destination.ipv6"])
end

local MRM = { [0] = parse_path_coupled, [1] = parse_loose_end }

-- The value of an MRI object, which NAT-Traversal and Error hold too. Returns the flow's text where it has addresses.
local function parse_mri_value(tree, r)
  local flow = {}
  local method = r:number(tree, 1, G["mri.method"])
  r:number(tree, 1, G["mri.n"], G["mri.reserved1"])
  local parse = MRM[method]
  if parse == nil then
    complain(tree, GX.unknown, "Message routing method %d is not known", method)
    r:rest(tree, G["mri.data"])
    return nil
  end
  parse(tree, r, flow)
  if flow.destination == nil then return nil end
  return flow_text(flow)
end

local function parse_mri(tree, r, seen)
  local text = parse_mri_value(tree, r)
  if text == nil then return end
  seen.flow = text
  tree:append_text(": " .. text)
end

local function parse_sid(tree, r, seen)
  local range = r:add(tree, G["sid"], 16)
  seen.sid = range:bytes():tohex(true)
  tree:append_text(": " .. seen.sid)
end

local function parse_nli(tree, r)
  local length = r:number(tree, 1, G["nli.identity_length"])
  if length == 0 then complain(tree, GX.value, "The Peer-Identity is empty") end
  r:number(tree, 1, G["nli.ip_ttl"])
  local range = r:take(2)
  tree:add(G["nli.ip_version"], range)
  tree:add(G["nli.reserved"], range)
  if r:number(tree, 4, G["nli.validity"]) == 0 then complain(tree, GX.value, "The validity time is 0") end
  r:optional(tree, G["nli.identity"], length)
  r:optional(tree, G["padding"], padding(length))
  local version = range:bitfield(0, 4)
  if not known_version(tree, GX, version) then return r:rest(tree, G["object.value"]) end
  tree:append_text(": " .. add_address(tree, r, version, G["nli.address.ipv4"], G["nli.address.ipv6"]))
end

local function parse_profile(tree, r, index)
  local start = r.at
  local profile = tree:add(G["sp.profile"], r:range())
  profile:set_text(string.format("Profile %d", index))
  local length = r:number(profile, 1, G["sp.profile.length"])
  if length == 0 then complain(profile, GX.value, "A profile has no protocols") end
  local names = {}
  for i = 1, length do
    names[i] = name_of(MA_PROTOCOL_NAMES, r:number(profile, 1, G["sp.profile.protocol"]), "protocol")
  end
  profile:append_text(": " .. table.concat(names, " over "))
  r:optional(profile, G["padding"], padding(1 + length))
  profile:set_len(r.at - start)
end

local function parse_proposal(tree, r)
  local count = r:number(tree, 1, G["sp.count"])
  if count == 0 then complain(tree, GX.value, "There are no profiles") end
  r:add(tree, G["sp.reserved"], 3)
  for i = 1, count do parse_profile(tree, r, i) end
end

local TCP_PROTOCOL, TLS_PROTOCOL = 1, 2

-- The port comes as 2 bytes, or as 4 of which 2 are padding: RFC 5971 can be read either way.
local function parse_option_data(tree, r, protocol, length)
  local has_port = (protocol == TCP_PROTOCOL or protocol == TLS_PROTOCOL) and (length == 2 or length == 4)
  if not has_port then return r:optional(tree, G["scd.option.data"], length) end
  tree:append_text(string.format(", port %d", r:number(tree, 2, G["scd.option.port"])))
  r:optional(tree, G["padding"], length - 2)
end

local function parse_option(tree, r, index)
  local option = tree:add(G["scd.option"], r:range())
  local start = r.at
  local protocol = r:number(option, 1, G["scd.option.protocol"])
  option:set_text(string.format("Protocol option %d: %s", index, name_of(MA_PROTOCOL_NAMES, protocol, "protocol")))
  r:number(option, 1, G["scd.option.profile"])
  local length = r:number(option, 1, G["scd.option.length"])
  if r:number(option, 1, G["scd.option.d"], G["scd.option.reserved"]) >= 0x80 then
    option:append_text(", not to be used")
  end
  parse_option_data(option, r, protocol, length)
  r:optional(option, G["padding"], padding(length))
  option:set_len(r.at - start)
end

local function parse_configuration(tree, r)
  local count = r:number(tree, 1, G["scd.count"])
  r:add(tree, G["scd.reserved"], 3)
  if r:number(tree, 4, G["scd.hold_time"]) == 0 then complain(tree, GX.value, "The hold time is 0") end
  for i = 1, count do parse_option(tree, r, i) end
end

local function cookie_parser(field)
  return function(tree, r)
    if r:left() == 0 and not r.cut then return complain(tree, GX.length, "The cookie is empty") end
    r:rest(tree, field)
  end
end

local function parse_nat_entry(tree, r, index)
  local entry = tree:add(G["nat.entry"], r:range())
  entry:set_text(string.format("NAT %d", index))
  local start = r.at
  local length = r:number(entry, 2, G["nat.entry.length"])
  r:optional(entry, G["nat.entry.data"], length)
  r:optional(entry, G["padding"], padding(2 + length))
  entry:set_len(r.at - start)
end

-- An MRI without object header inside another object.
local function parse_inner_mri(tree, r, field, length)
  if length == 0 then return complain(tree, GX.length, "The MRI is empty") end
  local inner = r:sub(length)
  local subtree = tree:add(field, inner:range())
  local parsed = guarded(subtree, GX, inner, function()
    local text = parse_mri_value(subtree, inner)
    if text ~= nil then subtree:append_text(": " .. text) end
  end)
  if parsed then expect_end(subtree, GX, G["trailing"], inner) end
end

local function parse_nat_traversal(tree, r)
  local mri_words = r:number(tree, 1, G["nat.mri_length"])
  local types = r:number(tree, 1, G["nat.type_count"])
  local nats = r:number(tree, 1, G["nat.nat_count"])
  r:number(tree, 1, G["nat.reserved"])
  if mri_words > 0 then parse_inner_mri(tree, r, G["nat.mri"], 4 * mri_words) end
  for _ = 1, types do r:number(tree, 2, G["nat.type"]) end
  r:optional(tree, G["padding"], padding(2 * types))
  for i = 1, nats do parse_nat_entry(tree, r, i) end
end

local INFO_PARSERS = {
  [1] = function(tree, r)
    r:number(tree, 2, G["error.info.message_length"])
    r:number(tree, 2, G["error.info.reserved"])
  end,
  [2] = function(tree, r)
    r:number(tree, 2, G["error.info.mtu"])
    r:number(tree, 2, G["error.info.reserved"])
  end,
  [3] = function(tree, r)
    r:number(tree, 2, G["error.info.reserved1"], G["error.info.object_type"])
    r:number(tree, 2, G["error.info.reserved"])
  end,
  [4] = function(tree, r)
    r:number(tree, 2, G["error.info.reserved1"], G["error.info.real_length"])
    r:number(tree, 2, G["error.info.offset"])
    r:rest(tree, G["error.info.object"])
  end,
}

local function parse_info(tree, r)
  local info = tree:add(G["error.info"], r:range())
  local start = r.at
  local kind = r:number(info, 2, G["error.info.type"])
  info:set_text(name_of(INFO_NAMES, kind, "Additional information of type"))
  local inner = r:sub(4 * r:number(info, 2, G["error.info.length"]))
  info:set_len(r.at - start)
  local parse = INFO_PARSERS[kind]
  if parse == nil then
    complain(info, GX.unknown, "Additional information of type %d is not known", kind)
    return inner:rest(info, G["error.info.data"])
  end
  if guarded(info, GX, inner, parse, info, inner) then expect_end(info, GX, G["trailing"], inner) end
end

local add_common_header

local function error_text(code, subcode)
  local subcodes = ERROR_SUBCODE_NAMES[code]
  local text = name_of(ERROR_CODE_NAMES, code, "Error code")
  if subcodes == nil then return text end
  return text .. ": " .. name_of(subcodes, subcode, "subcode")
end

local function add_error_code(tree, r)
  r:number(tree, 1, G["error.class"])
  local code_range = r:add(tree, G["error.code"], 2)
  local subcode_range = r:add(tree, G["error.subcode"], 1)
  local code, subcode = code_range:uint(), subcode_range:uint()
  local text = error_text(code, subcode)
  tree:add(G["error.name"], r.tvb(r.at - 3, 3), text):set_generated()
  if ERROR_CODE_NAMES[code] == nil then complain(tree, GX.unknown, "Error code %d is not known", code) end
  local subcodes = ERROR_SUBCODE_NAMES[code]
  if subcodes ~= nil and subcodes[subcode] == nil then
    complain(tree, GX.unknown, "Subcode %d of error code %d is not known", subcode, code)
  end
  return text
end

local function parse_error(tree, r, seen)
  seen.error = add_error_code(tree, r)
  tree:append_text(": " .. seen.error)
  local flags = r:take(2)
  for _, name in ipairs({ "s", "m", "c", "d", "q", "reserved" }) do tree:add(G["error." .. name], flags) end
  local mri_words = r:number(tree, 1, G["error.mri_length"])
  local infos = r:number(tree, 1, G["error.info_count"])
  local header = r:sub(HEADER)
  local header_tree = tree:add(G["error.header"], header:range())
  add_common_header(header_tree, header)
  if flags:bitfield(0, 1) == 1 then r:add(tree, G["error.sid"], 16) end
  if flags:bitfield(1, 1) == 1 then parse_inner_mri(tree, r, G["error.mri"], 4 * mri_words) end
  for _ = 1, infos do parse_info(tree, r) end
  if flags:bitfield(2, 1) == 1 and r:left() > 0 then
    tree:add_packet_field(G["error.comment"], r:take(r:left()), ENC_UTF_8)
  end
end

local function parse_hello_id(tree, r)
  r:number(tree, 4, G["hello_id"])
end

local nslps = DissectorTable.new("gist.nslpid", "GIST NSLPID", ftypes.UINT16, base.DEC, gist)

local function parse_nslp_data(tree, r, seen)
  local length = r:left()
  if length == 0 then return tree:append_text(": empty") end
  tree:append_text(string.format(": %d bytes", length))
  local range = r:take(length)
  seen.data = { range = range, tree = tree }
end

local GIST_PARSERS = {
  [T.mri] = parse_mri,
  [T.sid] = parse_sid,
  [T.nli] = parse_nli,
  [T.proposal] = parse_proposal,
  [T.configuration] = parse_configuration,
  [T.query_cookie] = cookie_parser(G["query_cookie"]),
  [T.responder_cookie] = cookie_parser(G["responder_cookie"]),
  [T.nat_traversal] = parse_nat_traversal,
  [T.data] = parse_nslp_data,
  [T.error] = parse_error,
  [T.hello_id] = parse_hello_id,
}

---------------------------------------------------------------------------------------------------------------------
-- GIST messages

-- Objects in their order, those that must be there, and what each flag has to be: 1, 0, or nil for either.
local GIST_RULES = {
  [GIST_TYPE.query] = {
    order = {
      T.nat_traversal, T.mri, T.sid, T.nli, T.query_cookie, T.proposal, T.configuration, T.data,
    },
    required = { T.mri, T.sid, T.nli, T.query_cookie },
    c = 1, r = 1, e = 0,
  },
  [GIST_TYPE.response] = {
    order = {
      T.nat_traversal, T.mri, T.sid, T.nli, T.query_cookie, T.responder_cookie, T.proposal, T.configuration, T.data,
    },
    required = { T.mri, T.sid, T.nli, T.query_cookie },
    c = 0, e = 0,
  },
  [GIST_TYPE.confirm] = {
    order = { T.mri, T.sid, T.nli, T.responder_cookie, T.proposal, T.configuration, T.data },
    required = { T.mri, T.sid, T.nli },
    c = 0, r = 0, e = 0,
  },
  [GIST_TYPE.data] = {
    order = { T.nat_traversal, T.mri, T.sid, T.nli, T.data },
    required = { T.mri, T.sid, T.data },
    r = 0,
  },
  [GIST_TYPE.error] = {
    order = { T.nat_traversal, T.nli, T.error },
    required = { T.error },
    c = 0, r = 0, e = 0,
  },
  [GIST_TYPE.hello] = {
    order = { T.hello_id },
    required = { T.hello_id },
    c = 0, e = 0,
  },
}

local function rank_in(order, kind)
  for i, one in ipairs(order) do
    if one == kind then return i end
  end
  return nil
end

-- Watches that objects come once and in order. `order` is nil for a message of unknown type.
local function sequence_check(order, x, names, repeated)
  local last, present = 0, {}
  local function see(tree, kind)
    if present[kind] and not (repeated and repeated[kind]) then complain(tree, x.objects, "There are two objects of this type") end
    present[kind] = true
    if order == nil or names[kind] == nil then return end
    local rank = rank_in(order, kind)
    if rank == nil then return complain(tree, x.objects, "This message takes no %s", names[kind]) end
    if rank < last then complain(tree, x.objects, "The %s stands too late", names[kind]) end
    last = math.max(last, rank)
  end
  return see, present
end

-- Returns type, flags and NSLPID. Also used for the header that an Error quotes.
function add_common_header(tree, r)
  local header = { version = r:number(tree, 1, G["version"]), hops = r:number(tree, 1, G["hops"]) }
  header.words = r:number(tree, 2, G["length"])
  header.nslpid = r:number(tree, 2, G["nslpid"])
  local kind = r:take(1)
  tree:add(G["flags.c"], kind)
  tree:add(G["type"], kind)
  local flags = r:take(1)
  for _, name in ipairs({ "s", "r", "e", "reserved" }) do tree:add(G["flags." .. name], flags) end
  header.c, header.type = kind:bitfield(0, 1), kind:bitfield(1, 7)
  header.s, header.r, header.e = flags:bitfield(0, 1), flags:bitfield(1, 1), flags:bitfield(2, 1)
  return header
end

local function check_flags(tree, header, rules)
  for _, flag in ipairs({ "c", "r", "e" }) do
    if rules[flag] ~= nil and header[flag] ~= rules[flag] then
      complain(tree, GX.flags, "Flag %s is wrong in %s", flag:upper(), GIST_TYPE_NAMES[header.type])
    end
  end
end

local function check_ab(tree, x, ab, known)
  if ab == 3 then return complain(tree, x.flags, "A/B = 11 is reserved") end
  if not known then complain(tree, x.unknown, "Objects of this type are not known") end
end

local function add_object(tree, r, see, seen)
  local start = r.at
  local object = tree:add(G["object"], r:range())
  local kind_range = r:take(2)
  local kind = kind_range:bitfield(4, 12)
  object:set_text(name_of(GIST_OBJECT_NAMES, kind, "Object of type"))
  object:add(G["object.ab"], kind_range)
  object:add(G["object.reserved1"], kind_range)
  object:add(G["object.type"], kind_range)
  local length_range = r:take(2)
  object:add(G["object.reserved2"], length_range)
  object:add(G["object.length"], length_range)
  local words = length_range:bitfield(4, 12)
  see(object, kind)
  check_ab(object, GX, kind_range:bitfield(0, 2), GIST_OBJECT_NAMES[kind] ~= nil)
  if 4 * words > r:left() and not r.cut then
    complain(object, GX.length, "The object of %d words reaches beyond the message", words)
    r:rest(object, G["object.value"])
    return
  end
  local value = r:sub(4 * words)
  object:set_len(r.at - start)
  local parse = GIST_PARSERS[kind]
  if parse == nil then return value:rest(object, G["object.value"]) end
  if guarded(object, GX, value, parse, object, value, seen) then
    expect_end(object, GX, G["trailing"], value)
  end
  if value.cut then seen.data = nil end
end

local function add_objects(tree, r, see, seen)
  local count = 0
  while r:left() > 0 do
    count = count + 1
    if count > MAX_LISTED then
      complain(tree, GX.objects, "There are more than %d objects", MAX_LISTED)
      return r:rest(tree, G["trailing"])
    end
    add_object(tree, r, see, seen)
  end
end

local function check_presence(tree, header, rules, present, datagram)
  for _, kind in ipairs(rules.required) do
    if not present[kind] then complain(tree, GX.objects, "The %s is missing", GIST_OBJECT_NAMES[kind]) end
  end
  local kind = header.type
  if kind == GIST_TYPE.data or kind == GIST_TYPE.error then
    if datagram and not present[T.nli] then
      complain(tree, GX.objects, "The %s is missing, which datagram mode needs", GIST_OBJECT_NAMES[T.nli])
    elseif kind == GIST_TYPE.data and not datagram and present[T.nli] then
      complain(tree, GX.objects, "Data in connection mode has no %s", GIST_OBJECT_NAMES[T.nli])
    end
  end
  if kind == GIST_TYPE.response and present[T.responder_cookie] and header.r == 0 then
    complain(tree, GX.flags, "There is a Responder-Cookie without flag R")
  end
  if kind ~= GIST_TYPE.query and present[T.proposal] and not present[T.responder_cookie] then
    complain(tree, GX.objects, "There is a Stack-Proposal without a Responder-Cookie")
  end
  if kind ~= GIST_TYPE.confirm and (present[T.proposal] or false) ~= (present[T.configuration] or false) then
    complain(tree, GX.objects, "Stack-Proposal and Stack-Configuration-Data go together")
  end
end

local function summary(header, seen)
  local parts = { name_of(GIST_TYPE_NAMES, header.type, "Message of type") }
  if seen.flow ~= nil then parts[#parts + 1] = seen.flow end
  if seen.error ~= nil then parts[#parts + 1] = seen.error end
  if seen.sid ~= nil then parts[#parts + 1] = "session " .. seen.sid:sub(1, 8) end
  return table.concat(parts, ", ")
end

-- One summary for each message of a frame; PBS adds its own behind that of the Data which carries it.
local function show_columns(pinfo, text, first)
  pinfo.cols.protocol = "GIST"
  if first then pinfo.cols.info:set(text) else pinfo.cols.info:append("; " .. text) end
end

-- Bytes that a dissector knows are not shown here too: there may be keys in them.
local function show_nslp_data(nslpid, data, pinfo, root)
  local dissector = nslps:get_dissector(nslpid)
  if dissector == nil then return data.tree:add(G["data"], data.range) end
  dissector:call(data.range:tvb(), pinfo, root)
end

-- Shows the message that `r` bounds, common header included, at least 8 bytes.
local function dissect_message(r, pinfo, root, proto_range, options)
  local tree = root:add(gist, proto_range)
  if options.magic ~= nil then tree:add(G["magic"], options.magic) end
  local header = add_common_header(tree, r)
  local seen = {}
  local rules = GIST_RULES[header.type]
  local see, present = sequence_check(rules and rules.order, GX, GIST_OBJECT_NAMES)
  if header.version ~= 1 then complain(tree, GX.unknown, "Version %d is not known", header.version) end
  if rules == nil then
    complain(tree, GX.unknown, "Message type %d is not known", header.type)
  else
    check_flags(tree, header, rules)
  end
  if options.length_problem ~= nil then complain(tree, GX.length, "%s", options.length_problem) end
  local complete = guarded(tree, GX, r, add_objects, tree, r, see, seen)
  if complete and rules ~= nil and not r.cut then check_presence(tree, header, rules, present, options.datagram) end
  local text = summary(header, seen)
  tree:append_text(", " .. text)
  show_columns(pinfo, text, options.first)
  if seen.data ~= nil then show_nslp_data(header.nslpid, seen.data, pinfo, root) end
end

---------------------------------------------------------------------------------------------------------------------
-- GIST in datagrams

local function dissect_datagram(tvb, pinfo, root)
  if tvb:len() < 4 + HEADER or tvb(0, 4):uint() ~= MAGIC then return 0 end
  local reported = tvb:reported_len()
  local stop = 4 + HEADER + 4 * tvb(6, 2):uint()
  local problem
  if stop > reported then
    problem = "The message is longer than the datagram"
  elseif stop < reported then
    problem = string.format("The datagram has %d bytes more than the message", reported - stop)
  end
  stop = math.min(stop, reported)
  local cut = stop > tvb:len()
  local r = reader(tvb, 4, math.min(stop, tvb:len()), cut)
  dissect_message(r, pinfo, root, tvb(), {
    magic = tvb(0, 4), length_problem = problem, datagram = true, first = true,
  })
  return tvb:len()
end

---------------------------------------------------------------------------------------------------------------------
-- GIST on associations

local function show_noise(tvb, at, pinfo, root)
  local tree = root:add(gist, tvb(at))
  tree:append_text(", not a message")
  complain(tree, GX.length, "No message starts here: what follows in this stream cannot be told apart")
  tree:add(G["trailing"], tvb(at))
  show_columns(pinfo, "Not a message", at == 0)
end

-- Asks for the rest of a message that starts at `at`. Returns false where no more can be had.
local function ask_for_more(tvb, pinfo, at, missing)
  if pinfo.can_desegment == 0 or tvb:len() < tvb:reported_len() then return false end
  pinfo.desegment_offset = at
  pinfo.desegment_len = missing
  return true
end

local function dissect_stream(tvb, pinfo, root)
  local at, length = 0, tvb:len()
  while at < length do
    local left = length - at
    if tvb(at, 1):uint() ~= 1 then
      show_noise(tvb, at, pinfo, root)
      return length
    end
    if left < HEADER then
      if not ask_for_more(tvb, pinfo, at, DESEGMENT_ONE_MORE_SEGMENT) then
        local tree = root:add(gist, tvb(at))
        complain(tree, GX.cut, "The capture has only a part of this")
      end
      return length
    end
    local whole = HEADER + 4 * tvb(at + 2, 2):uint()
    if whole > left and ask_for_more(tvb, pinfo, at, whole - left) then return length end
    local shown = math.min(whole, left)
    local r = reader(tvb, at, at + shown, whole > left)
    dissect_message(r, pinfo, root, tvb(at, shown), { datagram = false, first = at == 0 })
    at = at + shown
  end
  return length
end

function gist.dissector(tvb, pinfo, root)
  if tvb:len() == 0 then return 0 end
  if pinfo.port_type == UDP_PORT_TYPE then return dissect_datagram(tvb, pinfo, root) end
  if pinfo.port_type == TCP_PORT_TYPE then return dissect_stream(tvb, pinfo, root) end
  return 0
end

-- The first objects that a message on an association can start with, and their least length in words.
local FIRST_OBJECTS = {
  [GIST_TYPE.response] = { [T.nat_traversal] = 1, [T.mri] = 3 },
  [GIST_TYPE.confirm] = { [T.mri] = 3 },
  [GIST_TYPE.data] = { [T.nat_traversal] = 1, [T.mri] = 3 },
  [GIST_TYPE.error] = { [T.nat_traversal] = 1, [T.nli] = 3, [T.error] = 4 },
  [GIST_TYPE.hello] = { [T.hello_id] = 1 },
}

local function looks_like_a_message(tvb)
  if tvb:len() < HEADER + OBJECT_HEADER or tvb(0, 1):uint() ~= 1 then return false end
  local kind = tvb(6, 1)
  local first = kind:bitfield(0, 1) == 0 and FIRST_OBJECTS[kind:bitfield(1, 7)]
  if not first or tvb(7, 1):bitfield(3, 5) ~= 0 then return false end
  if tvb(8, 1):bitfield(0, 4) ~= 0 or tvb(10, 1):bitfield(0, 4) ~= 0 then return false end
  local least = first[tvb(8, 2):uint()]
  local words = tvb(10, 2):uint()
  return least ~= nil and words >= least and words + 1 <= tvb(2, 2):uint()
end

local function heuristic(tvb, pinfo, root)
  if not gist.prefs.heuristic or not looks_like_a_message(tvb) then return false end
  pinfo.conversation = gist
  dissect_stream(tvb, pinfo, root)
  return true
end

---------------------------------------------------------------------------------------------------------------------
-- PBS objects

local function parse_fid(tree, r, seen)
  local range = r:take(4)
  tree:add(P["fid.ip_version"], range)
  tree:add(P["fid.protocol"], range)
  tree:add(P["fid.reserved"], range)
  local flow = { version = range:bitfield(0, 4), protocol = range:bitfield(4, 8) }
  flow.source_port = r:number(tree, 2, P["fid.source_port"])
  flow.destination_port = r:number(tree, 2, P["fid.destination_port"])
  if not known_version(tree, PX, flow.version) then return r:rest(tree, P["object.value"]) end
  flow.source = add_address(tree, r, flow.version, P["fid.source.ipv4"], P["fid.source.ipv6"])
  flow.destination = add_address(tree, r, flow.version, P["fid.destination.ipv4"], P["fid.destination.ipv6"])
  if flow.source_port == 0 and flow.destination_port == 0 then flow.source_port, flow.destination_port = nil, nil end
  seen.flow = flow_text(flow)
  tree:append_text(": " .. seen.flow)
end

local function number_parser(field, key, unit)
  return function(tree, r, seen)
    local range = r:add(tree, field, 4)
    if key ~= nil then seen[key] = range:uint() end
    tree:append_text(string.format(": %.0f%s", range:uint(), unit))
  end
end

-- Wireshark's own dissector of one DER certificate.
local certificate_dissector
do
  local found, dissector = pcall(function() return DissectorTable.get("ber.syntax"):get_dissector("Certificate") end)
  if found then certificate_dissector = dissector end
end

-- It raises an error where the DER ends too early.
local function call_certificate_dissector(tvb, pinfo, tree)
  if not pcall(certificate_dissector.call, certificate_dissector, tvb, pinfo, tree) then
    complain(tree, PX.value, "The certificate is malformed")
  end
end

local function parse_certificate(tree, r, seen)
  if r:left() == 0 then return complain(tree, PX.length, "The certificate is empty") end
  tree:append_text(string.format(": %d bytes", r:left()))
  local range = r:rest(tree, P["certificate"])
  if pbs.prefs.certificates and certificate_dissector ~= nil then
    seen.certificate, seen.certificate_tree = range:tvb(), tree
  end
end

local function parse_defense(tree, r)
  local solution = r:number(tree, 1, P["defense.solution"])
  local algorithm = r:number(tree, 1, P["defense.algorithm"])
  if SOLUTION_NAMES[solution] == nil or ALGORITHM_NAMES[algorithm] == nil then
    complain(tree, PX.unknown, "Solution %d with algorithm %d is not known", solution, algorithm)
  end
  tree:append_text(": " .. name_of(SOLUTION_NAMES, solution, "solution"))
  local has_spi = r:number(tree, 2, P["defense.spi_present"], P["defense.reserved"]) >= 0x8000
  local uses_ah = solution == 2 or solution == 3
  if uses_ah then tree:append_text(", " .. name_of(ALGORITHM_NAMES, algorithm, "algorithm")) end
  if has_spi then
    local spi = r:number(tree, 4, P["defense.spi"])
    tree:append_text(string.format(", SPI 0x%08x", spi))
    if spi < 256 then complain(tree, PX.value, "The SPI is reserved") end
  elseif uses_ah then
    complain(tree, PX.value, "AH needs an SPI")
  end
  if uses_ah and algorithm == 0 then complain(tree, PX.value, "AH needs an algorithm") end
  local length = r:left()
  if length == 0 then return tree:add(P["defense.key_length"], 0):set_generated() end
  local range = r:take(length)
  local item = tree:add(P["defense.key_length"], range, length)
  item:set_generated()
  if not pbs.prefs.show_keys then return item:append_text(" (the key is hidden: preference pbs.show_keys)") end
  complain(tree:add(P["defense.key"], range), PX.key, "A secret key is shown")
end

local function parse_authentication(tree, r)
  if r:left() == 0 then return complain(tree, PX.length, "The signature is empty") end
  tree:append_text(string.format(": %d bytes", r:left()))
  r:rest(tree, P["authentication"])
end

local function parse_volume_high(tree, r, seen)
  for _, volume in ipairs({ "requested", "sent", "allowed" }) do
    seen[volume .. "_high"] = r:number(tree, 4, P[volume .. ".high"])
  end
end

local function parse_algorithms(tree, r)
  local count = r:left()
  if count == 0 or count > 32 then complain(tree, PX.length, "%d algorithms, not 1 to 32", count) end
  for _ = 1, count do
    local algorithm = r:number(tree, 1, P["algorithm"])
    tree:append_text(", " .. name_of(ALGORITHM_NAMES, algorithm, "algorithm"))
  end
end

local function parse_mark(tree, r)
  r:number(tree, 4, P["mark.has_heard"], P["mark.has_association"], P["mark.has_bytes"], P["mark.reserved"])
  tree:append_text(string.format(": epoch %.0f", r:number(tree, 4, P["mark.epoch"])))
  r:number(tree, 4, P["mark.heard"])
  r:number(tree, 4, P["mark.spi"])
  r:number(tree, 4, P["mark.sequence"])
  r:add(tree, P["mark.bytes"], 8)
end

local function parse_epoch(tree, r)
  r:number(tree, 4, P["epoch.ask"], P["epoch.reserved"])
  tree:append_text(string.format(": %.0f", r:number(tree, 4, P["epoch.number"])))
  r:add(tree, P["epoch.start"], 8)
  r:number(tree, 4, P["epoch.overlap.duration"])
  r:number(tree, 4, P["epoch.overlap.bytes"])
  if r:left() > 0 then r:add(tree, P["epoch.mover"], IDENTITY) end
end

local function parse_hop_report(tree, r)
  r:add(tree, P["report.node"], IDENTITY)
  r:number(tree, 4, P["report.epoch"])
  tree:append_text(": " .. tostring(r:add(tree, P["report.counted"], 8):uint64()) .. " bytes")
  r:number(tree, 4, P["report.sequence"])
  r:optional(tree, P["report.certificate"], r:number(tree, 4, P["report.certificate_length"]))
  if r:left() == 0 then return complain(tree, PX.length, "The signature is empty") end
  r:rest(tree, P["report.signature"])
end

local function parse_pbs_info(tree, r, seen)
  r:number(tree, 1, P["info.class"])
  local code = r:number(tree, 1, P["info.code"])
  if PBS_INFO_CODE_NAMES[code] == nil then complain(tree, PX.unknown, "Code %d is not known", code) end
  r:number(tree, 1, P["info.object_type"])
  r:number(tree, 1, P["info.reserved"])
  r:number(tree, 4, P["info.retry_after"])
  seen.info = name_of(PBS_INFO_CODE_NAMES, code, "code")
  tree:append_text(": " .. seen.info)
  if r:left() > 255 then complain(tree, PX.length, "The text has %d bytes, more than 255", r:left()) end
  if r:left() > 0 then tree:add_packet_field(P["info.text"], r:take(r:left()), ENC_UTF_8) end
end

local function parse_path_support(tree, r)
  local bits = r:number(tree, 4, P["support.patient"], P["support.summary"], P["support.tree"])
  if bits == 0 then complain(tree, PX.value, "A Path-support asks for nothing") end
end

-- A list of flows, each of which `parse_rest` reads behind its Session-ID.
local function parse_flows(tree, r, length, most, parse_rest)
  local count = math.floor(r:left() / length)
  if count == 0 or count > most or r:left() % length ~= 0 then
    complain(tree, PX.length, "%d bytes are not 1 to %d flows of %d", r:left(), most, length)
  end
  tree:append_text(string.format(": %d flows", count))
  for _ = 1, math.min(count, most) do
    local one = r:sub(length)
    local flow = tree:add(P["listed"], one:range())
    local id = one:add(flow, P["listed.sid"], 16)
    flow:append_text(" " .. id:bytes():tohex(true))
    parse_rest(flow, one)
  end
end

-- In a Query and in a Permission other things are said of each.
local function parse_summary(tree, r, seen)
  local is_query = seen.kind == PBS_TYPE.query
  parse_flows(tree, r, is_query and 36 or 40, 256, function(flow, one)
    one:add(flow, P["listed.sequence"], 4)
    one:add(flow, P[is_query and "listed.sent" or "listed.allowed"], 8)
    for _, name in ipairs(is_query and { "epoch", "heard" } or { "ttl", "refresh", "epoch" }) do
      one:add(flow, P["listed." .. name], 4)
    end
  end)
end

local function parse_listed(tree, r)
  parse_flows(tree, r, 16, 257, function() end)
end

local function parse_predecessor(tree, r)
  parse_flows(tree, r, 16, 1, function() end)
end

local function parse_tree_path(tree, r)
  r:number(tree, 1, P["tree.algorithm"])
  r:add(tree, P["tree.reserved"], 3)
  local leaves = r:number(tree, 2, P["tree.leaves"])
  local index = r:number(tree, 2, P["tree.index"])
  tree:append_text(string.format(": leaf %d of %d", index, leaves))
  if leaves < 2 or leaves > 4096 or index >= leaves then complain(tree, PX.value, "There is no such leaf") end
  while r:left() >= 32 do r:add(tree, P["tree.sibling"], 32) end
end

local function parse_ticket(tree, r)
  r:add(tree, P["ticket.node"], IDENTITY)
  r:number(tree, 4, P["ticket.due"])
  tree:append_text(string.format(": puzzle of %d bits", r:number(tree, 1, P["ticket.bits"])))
  r:add(tree, P["ticket.reserved"], 3)
  r:add(tree, P["ticket.seal"], 20)
  r:add(tree, P["ticket.nonce"], 8)
end

local PBS_PARSERS = {
  [O.fid] = parse_fid,
  [O.sequence] = number_parser(P["sequence"], "sequence", ""),
  [O.requested] = number_parser(P["requested.low"], "requested", " bytes"),
  [O.sent] = number_parser(P["sent.low"], "sent", " bytes"),
  [O.allowed] = number_parser(P["allowed.low"], "allowed", " bytes"),
  [O.ttl] = number_parser(P["ttl"], nil, " ms"),
  [O.refresh] = number_parser(P["refresh"], nil, " ms"),
  [O.certificate] = parse_certificate,
  [O.defense] = parse_defense,
  [O.authentication] = parse_authentication,
  [O.volume_high] = parse_volume_high,
  [O.info] = parse_pbs_info,
  [O.algorithms] = parse_algorithms,
  [O.mark] = parse_mark,
  [O.epoch] = parse_epoch,
  [O.hop_report] = parse_hop_report,
  [O.path_support] = parse_path_support,
  [O.summary] = parse_summary,
  [O.tree_path] = parse_tree_path,
  [O.listed] = parse_listed,
  [O.ticket] = parse_ticket,
  [O.predecessor] = parse_predecessor,
}

---------------------------------------------------------------------------------------------------------------------
-- PBS messages

local PBS_RULES = {
  [PBS_TYPE.query] = {
    order = {
      O.fid, O.sequence, O.requested, O.sent, O.certificate, O.volume_high, O.algorithms, O.mark, O.path_support,
      O.summary, O.ticket, O.predecessor, O.tree_path, O.authentication, O.hop_report,
    },
    repeated = { [O.ticket] = true, [O.hop_report] = true },
    required = { O.fid, O.sequence, O.requested, O.sent, O.certificate, O.authentication },
    volumes = { "requested", "sent" },
  },
  [PBS_TYPE.permission] = {
    order = {
      O.fid, O.sequence, O.allowed, O.ttl, O.refresh, O.certificate, O.defense, O.volume_high, O.info,
      O.epoch, O.summary, O.tree_path, O.authentication,
    },
    required = {
      O.fid, O.sequence, O.allowed, O.ttl, O.refresh, O.certificate, O.defense, O.authentication,
    },
    volumes = { "allowed" },
  },
  [PBS_TYPE.notify] = {
    order = { O.fid, O.info, O.defense, O.listed, O.ticket },
    required = { O.fid, O.info },
    volumes = {},
  },
}

-- Shows the padding, which has to be zero.
local function add_padding(tree, r, length)
  if length == 0 then return end
  local range = r:add(tree, P["padding"], length)
  if range:uint() ~= 0 then complain(tree, PX.value, "The padding is not zero") end
end

local function add_pbs_object(tree, r, see, seen, pinfo)
  local start = r.at
  local object = tree:add(P["object"], r:range())
  local word = r:take(4)
  local kind, length = word:bitfield(4, 8), word:bitfield(16, 16)
  object:set_text(name_of(PBS_OBJECT_NAMES, kind, "Object of type"))
  for _, name in ipairs({ "ab", "reserved1", "type", "reserved2", "length" }) do object:add(P["object." .. name], word) end
  see(object, kind)
  check_ab(object, PX, word:bitfield(0, 2), PBS_OBJECT_NAMES[kind] ~= nil)
  if length + padding(length) > r:left() then
    complain(object, PX.length, "The object of %d bytes reaches beyond the message", length)
    local may_show = kind ~= O.defense or pbs.prefs.show_keys
    local rest = r:left() > 0 and r:take(r:left())
    if rest and may_show then object:add(P["object.value"], rest) end
    return
  end
  local value = r:sub(length)
  object:set_len(r.at + padding(length) - start)
  local parse = PBS_PARSERS[kind]
  if parse == nil then
    value:rest(object, P["object.value"])
  elseif guarded(object, PX, value, parse, object, value, seen) then
    expect_end(object, PX, P["trailing"], value)
  end
  add_padding(object, r, padding(length))
  if seen.certificate ~= nil then
    call_certificate_dissector(seen.certificate, pinfo, seen.certificate_tree)
    seen.certificate = nil
  end
end

local function add_pbs_objects(tree, r, see, seen, pinfo)
  local count = 0
  while r:left() > 0 do
    count = count + 1
    if count > MAX_LISTED then
      complain(tree, PX.objects, "There are more than %d objects", MAX_LISTED)
      return r:rest(tree, P["trailing"])
    end
    add_pbs_object(tree, r, see, seen, pinfo)
  end
end

-- The volumes as whole numbers, which stand in two objects. Returns text for the summary.
local function add_volumes(tree, volumes, seen)
  local text = ""
  for _, volume in ipairs(volumes) do
    local low = seen[volume]
    if low ~= nil then
      local whole = UInt64.new(low, seen[volume .. "_high"] or 0)
      tree:add(P[volume], whole):set_generated()
      text = string.format("%s, %s %s bytes", text, volume, tostring(whole))
    end
  end
  return text
end

function pbs.dissector(tvb, pinfo, root)
  if tvb:len() == 0 then return 0 end
  local tree = root:add(pbs, tvb())
  local r = reader(tvb, 0, tvb:len())
  local seen, text, complete = {}, "Message cut short", false
  local rules, see, present
  guarded(tree, PX, r, function()
    local kind = r:number(tree, 1, P["type"])
    r:add(tree, P["reserved"], 3)
    seen.kind = kind
    text = name_of(PBS_TYPE_NAMES, kind, "Message of type")
    rules = PBS_RULES[kind]
    if rules == nil then complain(tree, PX.unknown, "Message type %d is not known", kind) end
    see, present = sequence_check(rules and rules.order, PX, PBS_OBJECT_NAMES, rules and rules.repeated)
    add_pbs_objects(tree, r, see, seen, pinfo)
    complete = true
  end)
  if rules ~= nil then text = text .. add_volumes(tree, rules.volumes, seen) end
  if complete and rules ~= nil then
    for _, kind in ipairs(rules.required) do
      if not present[kind] then complain(tree, PX.objects, "The %s is missing", PBS_OBJECT_NAMES[kind]) end
    end
  end
  if seen.info ~= nil then text = text .. ", " .. seen.info end
  tree:append_text(", " .. text)
  pinfo.cols.protocol = "PBS"
  pinfo.cols.info:append(", PBS " .. text)
  return tvb:len()
end

---------------------------------------------------------------------------------------------------------------------
-- Registration

nslps:add(PBS_NSLPID, pbs)
DissectorTable.get("udp.port"):add(GIST_PORT, gist)
gist:register_heuristic("tcp", heuristic)

local registered = { tls = "", tcp = "" }

-- TLS has to be told of the port twice: that TLS is on it, and what is inside.
local function register_ports(change, tls_ports, tcp_ports)
  if tls_ports ~= "" then
    change(DissectorTable.get("tcp.port"), tls_ports, Dissector.get("tls"))
    change(DissectorTable.get("tls.port"), tls_ports, gist)
  end
  if tcp_ports ~= "" then change(DissectorTable.get("tcp.port"), tcp_ports, gist) end
end

local function update_ports()
  register_ports(function(port_table, ports, dissector) port_table:remove(ports, dissector) end,
    registered.tls, registered.tcp)
  registered.tls, registered.tcp = gist.prefs.tls_ports, gist.prefs.tcp_ports
  register_ports(function(port_table, ports, dissector) port_table:add(ports, dissector) end,
    registered.tls, registered.tcp)
end

function gist.prefs_changed()
  if gist.prefs.tls_ports ~= registered.tls or gist.prefs.tcp_ports ~= registered.tcp then update_ports() end
end

update_ports()
