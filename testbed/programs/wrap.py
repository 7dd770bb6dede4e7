"""Sends an IP packet to a relay, wrapped as relays want it: wrap.py RELAY PORT SOURCE DESTINATION DESTINATION-PORT COUNT"""

import socket
import sys

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

relay, port, source, destination, destination_port, count = sys.argv[1:]
inner = bytes(IP(src=source, dst=destination) / UDP(sport=4999, dport=int(destination_port)) / Raw(bytes(100)))
outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(count)):
    outer.sendto(inner, (relay, int(port)))
