"""AH as scapy does it, over real wires. The plan is JSON: {"source", "destination", "port", "flows": [{"port" (of the
source), "algorithm" (scapy's name), "key" (hexadecimal), "spi"}]}; every flow gets one datagram for each kind of header.

ah.py send PLAN      sends datagrams with AH, made by scapy
ah.py plain PLAN     sends the same without AH, through ordinary sockets
ah.py receive PLAN   takes what comes with AH; prints "ready", and a line for each packet: PORT KIND, or PORT and the error
Datagrams carry a number of four bytes, the kind of header.
"""
import json
import socket
import sys

from scapy.layers.inet import IP, UDP, IPOption_NOP, IPOption_RR, IPOption_Router_Alert, IPOption_Timestamp
from scapy.layers.inet6 import HBHOptUnknown, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.ipsec import AH, IPSecIntegrityError, SecurityAssociation
from scapy.packet import Raw
from scapy.sendrecv import send

MODE, PLAN = sys.argv[1], json.loads(sys.argv[2])
FOUR = ":" not in PLAN["source"]
ADDRESSES = {"src": PLAN["source"], "dst": PLAN["destination"]}
# Skipped by those who do not know them; the first may change on the way.
MUTABLE, IMMUTABLE = 0x3E, 0x1E
LIMIT_SECONDS = 20


def unknown(kind):
    return HBHOptUnknown(otype=kind, optlen=4, optdata=b"abcd")


def options():
    """IPv4 options and IPv6 extension headers, by kind."""
    if FOUR:
        record = IPOption_RR(length=11, routers=["0.0.0.0", "0.0.0.0"])
        # Of one time only: scapy takes a second one for another option.
        stamp = IPOption_Timestamp(length=8, pointer=5, flg=0, timestamp=0)
        return [[], [IPOption_Router_Alert()], [IPOption_NOP(), record], [stamp]]
    return [
        [],
        [IPv6ExtHdrHopByHop(options=[unknown(MUTABLE)])],
        [IPv6ExtHdrDestOpt(options=[unknown(IMMUTABLE)])],
        [IPv6ExtHdrHopByHop(options=[unknown(IMMUTABLE)]), IPv6ExtHdrDestOpt(options=[unknown(MUTABLE)])],
    ]


def datagram(flow, kind):
    extra = options()[kind]
    packet = IP(options=extra, ttl=30, **ADDRESSES) if FOUR else IPv6(hlim=30, **ADDRESSES)
    for header in [] if FOUR else extra:
        packet /= header
    packet = packet / UDP(sport=flow["port"], dport=PLAN["port"]) / Raw(kind.to_bytes(4, "big") + bytes(33))
    return type(packet)(bytes(packet))


def association(flow):
    return SecurityAssociation(
        AH, spi=flow["spi"], auth_algo=flow["algorithm"], auth_key=bytes.fromhex(flow["key"])
    )


def send_all():
    for flow in PLAN["flows"]:
        sa = association(flow)
        for kind in range(len(options())):
            send(sa.encrypt(datagram(flow, kind), seq_num=kind + 1), verbose=0)


def send_plain():
    for flow in PLAN["flows"]:
        for kind in range(len(options())):
            send_one(flow, kind)


def send_one(flow, kind):
    packet = datagram(flow, kind)
    with socket.socket(socket.AF_INET if FOUR else socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        if FOUR and packet.options:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes(packet)[20 : packet.ihl * 4])
        if IPv6ExtHdrHopByHop in packet:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, own_bytes(packet[IPv6ExtHdrHopByHop]))
        if IPv6ExtHdrDestOpt in packet:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, own_bytes(packet[IPv6ExtHdrDestOpt]))
        sender.bind(("", flow["port"]))
        sender.sendto(bytes(packet[Raw]), (PLAN["destination"], PLAN["port"]))


def own_bytes(header):
    return bytes(header)[: (header.len + 1) * 8]


def receive_all():
    by_spi = {flow["spi"]: flow for flow in PLAN["flows"]}
    incoming = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800 if FOUR else 0x86DD))
    incoming.settimeout(LIMIT_SECONDS)
    print("ready", flush=True)
    left = len(by_spi) * len(options())
    while left:
        data, address = incoming.recvfrom(65536)
        packet = IP(data) if FOUR else IPv6(data)
        if address[2] == socket.PACKET_OUTGOING or AH not in packet or packet[AH].spi not in by_spi:
            continue
        print(accept(by_spi[packet[AH].spi], packet), flush=True)
        left -= 1


def accept(flow, packet):
    try:
        plain = type(packet)(bytes(association(flow).decrypt(packet)))
    except IPSecIntegrityError as error:
        return f'{flow["port"]} {type(error).__name__}'
    return f'{plain[UDP].sport} {int.from_bytes(bytes(plain[UDP].payload)[:4], "big")}'


{"send": send_all, "plain": send_plain, "receive": receive_all}[MODE]()
