#!/usr/bin/env python3
"""Numbered datagrams that must not be cut, as large as the kernel says that the path takes.

path-mtu.py SOURCE-PORT HOST PORT COUNT SIZE

Sends COUNT datagrams of SIZE payload bytes at most, 10 ms apart, with IP_PMTUDISC_DO (IPv6: also IPV6_DONTFRAG). When
the kernel says that one is too large, it is sent again as large as the path takes. Prints "refused SIZE MTU" for each that
was refused, and "done SIZE" with the size of the last.
"""
import errno
import socket
import struct
import sys
import time

source, host, port, count, size = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
six = ":" in host
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_DONTFRAG, DO = 10, 14, 23, 24, 62, 2
HEADERS = 48 if six else 28

s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
if six:
    s.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DO)
    s.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
else:
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
s.bind(("::" if six else "0.0.0.0", int(source)))
s.connect((host, port))


def path_mtu():
    return s.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU) if six else s.getsockopt(socket.IPPROTO_IP, IP_MTU)


def send(number):
    """An error may be that of the datagram before, so it is looked at again."""
    global size
    for _ in range(10):
        try:
            s.send(struct.pack("!I", number) + bytes(size - 4))
            return
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                print("refused", size, path_mtu(), flush=True)
                size = min(size, path_mtu() - HEADERS)


for number in range(count):
    send(number)
    time.sleep(0.01)
print("done", size, flush=True)
