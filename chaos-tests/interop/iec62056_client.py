"""Reads a Holdfast simulator's IEC 62056-21 meter with the Python package iec62056-21.

Prints one JSON line {"serial": text, "sets": n, "total": text, "written": true, "refused": text} or fails.

usage: iec62056_client.py --port P --device SERIAL [--password TEXT]

What the package does by itself and what is done about it here, never in our code:
* a read of one value carries `(1)` behind the address by default ("can't find documentation on why", it says
  itself); it is left out.
* `send_password` raises TypeError ("DataSet.__init__() missing 1 required positional argument: 'address'"), so the
  command is put together here from the package's own messages; and it does not read the meter's ACK.
* an answer of the meter that is an error is a data set whose value begins with ER; there is no parser for it.
"""
import argparse
import json

from iec62056_21 import constants, messages
from iec62056_21.client import Iec6205621Client


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--password", default="00000000")
    args = parser.parse_args()

    def connected():
        client = Iec6205621Client.with_tcp_transport(
            address=("127.0.0.1", args.port), device_address=args.device, password=args.password)
        client.connect()
        return client

    client = connected()
    sets = client.standard_readout().data
    client.disconnect()
    by_address = {one.address: one.value for one in sets}

    client = connected()
    client.access_programming_mode()
    password = messages.DataSet(address="", value=args.password)
    client.transport.send(messages.CommandMessage(command="P", command_type=1, data_set=password).to_bytes())
    acknowledged = client.transport.recv(1).decode(constants.ENCODING)
    if acknowledged != constants.ACK:
        raise ValueError(f"the password brought {acknowledged!r}")
    total = client.read_single_value("1.8.0", additional_data="").value
    client.write_single_value("0.9.1", "101500")
    refused = client.read_single_value("9.9.9", additional_data="").value
    client.send_break()
    client.disconnect()
    print(json.dumps({
        "serial": by_address["0.0.0"], "sets": len(sets), "total": total, "written": True, "refused": refused}))


if __name__ == "__main__":
    main()
