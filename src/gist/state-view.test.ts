import test from "ava";
import { IpAddress } from "../base/address.js";
import { mriText } from "./state-view.js";
import { flowMri } from "./testing/network.js";
import { flipMri } from "./wire/codec.js";
import type { Mri } from "./wire/messages.js";

const flow = flowMri("192.168.20.1", "192.168.21.4", 4000);
const { sourcePort: _, destinationPort: __, protocol: ___, ...bare } = flow;

const CASES: [mri: Mri, text: string][] = [
  [{ ...flow, protocol: 6, destinationPort: 80 }, "downstream 192.168.20.1 > 192.168.21.4 tcp 4000 > 80"],
  [flipMri({ ...flow, protocol: 6 }), "upstream 192.168.20.1 > 192.168.21.4 tcp 4000 > 9000"],
  [bare, "downstream 192.168.20.1 > 192.168.21.4"],
  [{ ...bare, sourcePrefix: 24 }, "downstream 192.168.20.1/24 > 192.168.21.4"],
  [{ ...bare, protocol: 51, spi: 700 }, "downstream 192.168.20.1 > 192.168.21.4 51 spi 700"],
  [{ ...bare, protocol: 17, destinationPort: 53 }, "downstream 192.168.20.1 > 192.168.21.4 udp * > 53"],
  [{ ...bare, protocol: 17, sourcePort: 53 }, "downstream 192.168.20.1 > 192.168.21.4 udp 53 > *"],
  [{ ...bare, dscp: 46 }, "downstream 192.168.20.1 > 192.168.21.4 dscp 46"],
  [
    {
      ...bare,
      source: IpAddress.parse("2001:db8::1"),
      destination: IpAddress.parse("2001:db8::2"),
      sourcePrefix: 128,
      destinationPrefix: 128,
      flowLabel: 5,
    },
    "downstream 2001:db8::1 > 2001:db8::2 label 5",
  ],
  [
    { method: "loose-end", direction: "upstream", source: bare.source, destination: bare.destination },
    "upstream loose-end 192.168.20.1 > 192.168.21.4",
  ],
];

for (const [mri, text] of CASES)
  test(text, (t) => {
    t.is(mriText(mri), text);
  });
