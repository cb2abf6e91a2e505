#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps many TCP connections to an echo server busy: on each of them a message every 50 ms that must come back whole.

usage: flows.py ADDRESS PORT COUNT SECONDS     prints "COUNT connections, ROUNDS rounds, BROKEN broken"
"""
import selectors
import socket
import sys
import time

PATIENCE = 5  # seconds that an echo may take: retransmissions are no loss


def main():
    address, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    waiting, broken, why = selectors.DefaultSelector(), 0, ''
    flows = []
    for _ in range(count):
        flow = socket.create_connection((address, port), timeout=PATIENCE)
        while not flow.recv(1) == b'\n':  # its greeting
            pass
        flows.append(flow)
    rounds, end = 0, time.monotonic() + seconds
    while flows and time.monotonic() < end:
        message = f'{rounds:08}'.encode() * 8
        due, got = time.monotonic() + PATIENCE, {}
        for flow in list(flows):
            try:
                flow.sendall(message)
                got[flow] = b''
                waiting.register(flow, selectors.EVENT_READ)
            except OSError as e:
                flows.remove(flow)
                broken, why = broken + 1, why or str(e)
        while got and time.monotonic() < due:
            for key, _ in waiting.select(0.1):
                flow = key.fileobj
                try:
                    data = flow.recv(4096)
                    got[flow] += data
                    wrong = 'it was closed' if not data else '' if message.startswith(got[flow]) else 'other bytes came back'
                except OSError as e:
                    wrong = str(e)
                if wrong:
                    broken, why = broken + 1, why or wrong
                    flows.remove(flow)
                if wrong or got[flow] == message:
                    waiting.unregister(flow)
                    del got[flow]
        for flow in got:
            waiting.unregister(flow)
            flows.remove(flow)
            broken, why = broken + 1, why or f'nothing came back for {PATIENCE} s'
        rounds += 1
        time.sleep(0.05)
    print(f'{count} connections, {rounds} rounds, {broken} broken{": " + why if why else ""}')
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
