"""AH as scapy does it, for the tests: a command a line, one line of answer each, bytes in hexadecimal.

corpus                                    -> LABEL PACKET, many lines and an empty one
protect ALGORITHM KEY SPI SEQUENCE PACKET -> PACKET
verify ALGORITHM KEY PACKET               -> the packet without AH, or "refused"
"""
import sys

from scapy.layers.inet import (IP, TCP, UDP, IPOption_EOL, IPOption_LSRR, IPOption_NOP, IPOption_RR,
                               IPOption_Router_Alert, IPOption_SDBM, IPOption_Security, IPOption_Timestamp,
                               IPOption_Traceroute)
from scapy.layers.inet6 import (HBHOptUnknown, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN,
                                RouterAlert)
from scapy.layers.ipsec import AH, IPSecIntegrityError, SecurityAssociation
from scapy.packet import Raw

FOUR = dict(src="192.168.20.1", dst="192.168.21.4")
SIX = dict(src="fd00::1", dst="fd00::2")
MUTABLE, IMMUTABLE = 0x3E, 0x1E


def unknown(kind):
    return HBHOptUnknown(otype=kind, optlen=5, optdata=b"abcde")


def corpus():
    text = Raw(bytes(range(37)))
    udp, tcp = UDP(sport=4000, dport=80) / text, TCP(sport=4000, dport=80, flags="PA") / text
    yield "ipv4-udp", IP(tos=0xB9, ttl=3, id=7, flags="DF", **FOUR) / udp
    yield "ipv4-tcp-empty", IP(**FOUR) / TCP(flags="S")
    yield "ipv4-1400", IP(**FOUR) / UDP() / Raw(b"x" * 1372)
    yield "ipv4-router-alert", IP(options=[IPOption_Router_Alert()], **FOUR) / udp
    yield "ipv4-record-route", IP(options=[IPOption_NOP(), IPOption_RR(routers=["1.2.3.4", "0.0.0.0"]), IPOption_EOL()], **FOUR) / tcp
    yield "ipv4-timestamp", IP(options=[IPOption_Security(), IPOption_Timestamp(length=12, pointer=9, timestamp=5)], **FOUR) / udp
    yield "ipv4-route-used-up", IP(options=[IPOption_LSRR(pointer=8, routers=["9.9.9.9"])], **FOUR) / udp
    yield "ipv4-traceroute", IP(options=[IPOption_Traceroute(), IPOption_SDBM(addresses=["224.0.0.9"])], **FOUR) / udp
    yield "ipv6-udp", IPv6(tc=0xB9, fl=0x12345, hlim=9, **SIX) / udp
    yield "ipv6-tcp", IPv6(**SIX) / tcp
    yield "ipv6-hop-by-hop", IPv6(**SIX) / IPv6ExtHdrHopByHop(options=[RouterAlert(), unknown(MUTABLE), PadN()]) / udp
    yield "ipv6-destination", IPv6(**SIX) / IPv6ExtHdrDestOpt(options=[unknown(IMMUTABLE)]) / udp
    yield "ipv6-mixed", IPv6(**SIX) / IPv6ExtHdrHopByHop(options=[unknown(IMMUTABLE)]) / IPv6ExtHdrDestOpt(options=[unknown(MUTABLE)]) / tcp
    yield "ipv6-routing", IPv6(**SIX) / IPv6ExtHdrRouting(addresses=["fd00::3", "fd00::4"], segleft=2) / IPv6ExtHdrDestOpt(options=[unknown(MUTABLE)]) / udp


def parse(text):
    data = bytes.fromhex(text)
    return IP(data) if data[0] >> 4 == 4 else IPv6(data)


def arrive(packet):
    """What the nodes of a routing header make of it: scapy verifies as the receiver only."""
    if IPv6ExtHdrRouting in packet:
        routing = packet[IPv6ExtHdrRouting]
        final = routing.addresses.pop()
        routing.addresses.insert(0, packet.dst)
        routing.segleft, packet.dst = 0, final
    return packet


def association(algorithm, key, spi):
    return SecurityAssociation(AH, spi=int(spi), auth_algo=algorithm, auth_key=bytes.fromhex(key))


def protect(algorithm, key, spi, sequence, packet):
    return bytes(association(algorithm, key, spi).encrypt(parse(packet), seq_num=int(sequence))).hex()


def verify(algorithm, key, packet):
    packet = parse(bytes(arrive(parse(packet))).hex())
    try:
        return bytes(association(algorithm, key, packet[AH].spi).decrypt(packet)).hex()
    except IPSecIntegrityError:
        return "refused"


def print_corpus():
    for label, packet in corpus():
        print(label, bytes(packet).hex())
    return ""


COMMANDS = {"corpus": print_corpus, "protect": protect, "verify": verify}

for line in sys.stdin:
    command, *arguments = line.split()
    print(COMMANDS[command](*arguments))
