"""A router that is not honest, between two that check: passes on the packets of one flow with AH, and adds its own.

The kernel must not forward the flow itself. Started as: ah.py PLAN, the plan as JSON: {"family", "in", "out" (interfaces),
"source", "destination" (addresses), "port" (of the destination), "mac", "next" (hardware addresses of the way out)}. It says
"ready", and then answers each line "ATTACK" on its input with a line of JSON: {"attack", "sent": N} once N packets
were sent that must not arrive. In between, and with each attack, packets of the flow go on unchanged.
Packets are made and checked by scapy.
"""
import json
import os
import select
import socket
import sys

from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.ipsec import AH, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.packet import Raw, bind_layers

bind_layers(AH, UDP, nh=17)

PLAN = json.loads(sys.argv[1])
FOUR = PLAN["family"] == 4
HEADER = 20 if FOUR else 40
ETHERNET = 14
AH_PROTOCOL = 51
WINDOW = 1024
CHANGES = (0x01, 0x80, 0xFF)
# Altered copies for each packet of the flow.
COPIES = 8
OWN_KEY = bytes(32)
LIMIT_SECONDS = 30


def parse(data):
    return IP(data) if FOUR else IPv6(data)


def listen():
    incoming = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800 if FOUR else 0x86DD))
    incoming.bind((PLAN["in"], 0x0800 if FOUR else 0x86DD))
    return incoming


class Way:
    """Where packets come from and go to."""

    def __init__(self):
        self.incoming = listen()
        self.outgoing = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.outgoing.bind((PLAN["out"], 0))
        self.ether = bytes(Ether(src=PLAN["mac"], dst=PLAN["next"], type=0x0800 if FOUR else 0x86DD))

    def send(self, data):
        self.outgoing.send(self.ether + bytes(data))

    def take(self):
        """The next packet of the flow, as a router would pass it on; None for others."""
        frame, address = self.incoming.recvfrom(65536)
        if address[2] == socket.PACKET_OUTGOING:
            return None
        packet = parse(frame[ETHERNET:])
        if AH not in packet or packet.src != PLAN["source"] or packet.dst != PLAN["destination"]:
            return None
        if UDP not in packet or packet[UDP].dport != PLAN["port"]:
            return None
        return hop(packet)


def hop(packet):
    if FOUR:
        packet.ttl -= 1
        del packet.chksum
    else:
        packet.hlim -= 1
    return parse(bytes(packet))


def with_header(data, length=None):
    """Bytes after a change: the IP header's own length and checksum are right again."""
    data = bytearray(data)
    if FOUR:
        data[2:4] = (len(data) if length is None else length).to_bytes(2, "big")
        packet = IP(bytes(data[:20]))
        del packet.chksum
        return bytes(packet)[:20] + bytes(data[20:])
    data[4:6] = ((len(data) - 40) if length is None else length).to_bytes(2, "big")
    return bytes(data)


def changed(data, at, change):
    data = bytearray(data)
    data[at] ^= change
    return bytes(data)


def plain(packet):
    """Without AH."""
    inner = bytes(packet[UDP])
    if FOUR:
        return with_header(changed(bytes(packet)[:20], 9, AH_PROTOCOL ^ 17) + inner)
    return with_header(changed(bytes(packet)[:40], 6, AH_PROTOCOL ^ 17) + inner)


def forged(packet, spi):
    """A datagram of our own, signed with a key of our own, of the sequence number that is next."""
    association = SecurityAssociation(AH, spi=spi, auth_algo="SHA2-256-128", auth_key=OWN_KEY)
    addresses = {"src": packet.src, "dst": packet.dst}
    network = IP(id=packet.id, **addresses) if FOUR else IPv6(**addresses)
    ports = {"sport": packet[UDP].sport, "dport": packet[UDP].dport}
    datagram = network / UDP(**ports) / Raw(b"\x7f" * 100)
    return bytes(association.encrypt(parse(bytes(datagram)), seq_num=packet[AH].seq + 1))


# ---- Attacks: each is given the packets of the flow one by one, sends what it likes, and returns how many packets of that
# must not arrive; None when it has sent all. ----


def each(make, count):
    """The attack that sends what `make` gives, before the true packet; COPIES for each packet."""

    def start(way):
        done = 0

        def on(packet):
            nonlocal done
            if done >= count(packet):
                way.send(packet)
                return None
            sent = 0
            while sent < COPIES and done < count(packet):
                way.send(make(packet, done))
                done += 1
                sent += 1
            way.send(packet)
            return sent

        return on

    return start


def altered(packet, i):
    at, change = HEADER + i // len(CHANGES), CHANGES[i % len(CHANGES)]
    return changed(bytes(packet), at, change)


def altered_count(packet):
    return (len(bytes(packet)) - HEADER) * len(CHANGES)


def immutable(packet, i):
    data = bytes(packet)
    if FOUR:
        if i < 2:
            return with_header(changed(data, 4 + i, 0x40))  # identification
        if i == 2:
            return with_header(data[:-4])
        if i == 3:
            return with_header(data + bytes(4))
        return with_header(changed(data, (9, 15, 19)[i - 4], 2))  # protocol, source, destination
    if i == 0:
        return with_header(data[:-4])
    if i == 1:
        return with_header(data + bytes(4))
    return changed(data, (6, 23, 39)[i - 2], 2)  # protocol, source, destination


def truncated(packet, i):
    return with_header(bytes(packet)[: HEADER + i])


def wrong_length(packet, i):
    # In words without two; what it should be is left out.
    real = bytes(packet)[HEADER + 1]
    return changed(bytes(packet), HEADER + 1, real ^ (i if i < real else i + 1))


def replay(way):
    kept, sent = [], 0

    def on(packet):
        nonlocal sent
        way.send(packet)
        kept.append(bytes(packet))
        if len(kept) < 100:
            return 0
        if sent == 100:
            return None
        for old in (kept[-2], kept[-50], kept[-100], kept[0]):
            way.send(old)
        sent += 4
        return 4

    return on


def duplicate(way):
    left = [30]

    def on(packet):
        way.send(packet)
        if left[0] == 0:
            return None
        left[0] -= 1
        way.send(packet)
        return 1

    return on


def reorder(way):
    """Backwards, in groups: all of them must arrive, once."""
    kept, groups = [], [0]

    def on(packet):
        if groups[0] == 4:
            way.send(packet)
            return None
        kept.append(packet)
        if len(kept) < 25:
            return 0
        while kept:
            way.send(kept.pop())
        groups[0] += 1
        return 0

    return on


def late(way):
    """One packet comes when it is out of the window."""
    kept, since = [], [0]

    def on(packet):
        if not kept:
            kept.append(packet)
            return 0
        way.send(packet)
        since[0] += 1
        if since[0] < WINDOW + 10:
            return 0
        if since[0] > WINDOW + 10:
            return None
        way.send(kept[0])
        return 1

    return on


def mutable(way):
    """What routers may change: all of them must arrive."""
    left = [30]

    def on(packet):
        if left[0] == 0:
            way.send(packet)
            return None
        left[0] -= 1
        if FOUR:
            packet.tos, packet.ttl = 0xB8 + left[0] % 4, 20 + left[0]
            del packet.chksum
        else:
            packet.tc, packet.fl, packet.hlim = 0xB8 + left[0] % 4, 0x12300 + left[0], 20 + left[0]
        way.send(packet)
        return 0

    return on


def pieces(packet):
    if FOUR:
        copy = IP(bytes(packet))
        copy.flags = 0
        return fragment(copy, 64)
    extended = IPv6(bytes(packet)[:40])
    body = bytes(packet)[40:]
    header = IPv6ExtHdrFragment(nh=AH_PROTOCOL, id=packet[AH].seq)
    extended.nh, extended.plen = 44, None
    half = len(body) // 16 * 8
    first, second = header.copy(), header.copy()
    first.m, second.offset = 1, half // 8
    return [extended / first / Raw(body[:half]), extended / second / Raw(body[half:])]


def fragmented(way):
    left = [20]

    def on(packet):
        if left[0] == 0:
            way.send(packet)
            return None
        left[0] -= 1
        parts = pieces(packet)
        for part in parts:
            way.send(part)
        way.send(packet)
        return len(parts)

    return on


WITHHELD = []


def withhold(way):
    """Keeps packets back, for "release"."""
    left = [10]

    def on(packet):
        if left[0] == 0:
            way.send(packet)
            return None
        left[0] -= 1
        WITHHELD.append(packet)
        return 0

    return on


def release(way):
    def on(packet):
        way.send(packet)
        count = len(WITHHELD)
        while WITHHELD:
            way.send(WITHHELD.pop(0))
        return count if count else None

    return on


ATTACKS = {
    "forged": each(lambda packet, i: forged(packet, packet[AH].spi), lambda packet: 60),
    "wrong-spi": each(lambda packet, i: forged(packet, packet[AH].spi ^ (i + 1)), lambda packet: 60),
    "altered": each(altered, altered_count),
    "immutable": each(immutable, lambda packet: 7 if FOUR else 5),
    "mutable": mutable,
    "no-ah": each(lambda packet, i: plain(packet), lambda packet: 60),
    "truncated": each(truncated, lambda packet: len(bytes(packet)) - HEADER),
    "ah-length": each(wrong_length, lambda packet: 255),
    "replayed": replay,
    "duplicated": duplicate,
    "reordered": reorder,
    "late": late,
    "fragmented": fragmented,
    "withhold": withhold,
    "release": release,
}


def main():
    way = Way()
    attack, name, sent = None, "", 0
    say("ready")
    while True:
        readable, _, _ = select.select([way.incoming, sys.stdin], [], [], LIMIT_SECONDS)
        if not readable:
            return
        if sys.stdin in readable:
            line = os.read(0, 4096).decode().strip()
            if not line:
                return
            attack, name, sent = ATTACKS[line](way), line, 0
        if way.incoming not in readable:
            continue
        packet = way.take()
        if packet is None:
            continue
        if attack is None:
            way.send(packet)
            continue
        added = attack(packet)
        if added is None:
            say(json.dumps({"attack": name, "sent": sent}))
            attack = None
            continue
        sent += added


def say(line):
    print(line, flush=True)


main()
