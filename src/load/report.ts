/** What a load came to, as text and as a plot. */
import type { Summary } from "./histogram.js";
import type { Figures } from "./measure.js";
import { type Chart, svg } from "./plot.js";
import type { RampReport } from "./ramp.js";
import type { LoadReport, Sample } from "./run.js";

/** @param router false: it is not the tool's own, so nothing is known of it */
export function loadText({ phases, stopped }: LoadReport, router: boolean): string {
  const parts = phases.map((phase) => phaseText(phase, router));
  if (stopped) parts.push("ended before its time\n");
  return parts.join("\n");
}

function phaseText(figures: Figures, router: boolean): string {
  const { name, seconds, pairs, flows, refreshes, retransmissions, messages, signatures, bytes } = figures;
  const lines: [string, string][] = [
    ["pairs", `${pairs} in ${seconds.toFixed(1)} s: ${whole(figures.perSecond)} a second`],
    [
      "flows",
      `${flows.live} live; ${flows.granted} granted, ${flows.refused} refused, ${flows.revoked} revoked, ` +
        `${flows.left} given up, ${flows.failed} without answer, ${flows.lost} lost, ${flows.toldToWait} told to wait`,
    ],
    ["refreshes", `${refreshes.done}, ${refreshes.missed} missed`],
    ["sent again", `${retransmissions.pbs} Queries of PBS, ${retransmissions.gist} of GIST by the tool`],
  ];
  if (figures.setUp.count > 0) lines.push(["set-up", latency(figures.setUp)]);
  if (figures.refresh.count > 0) lines.push(["refresh", latency(figures.refresh)]);
  if (router)
    lines.push([
      "router",
      `${figures.router.cpuSeconds.toFixed(2)} s of processor (${percent(figures.router.share)} of a core): ` +
        `${whole(figures.router.pairsPerCpuSecond)} pairs for each; ${whole(figures.router.residentBytes / 1e6)} MB resident`,
    ]);
  lines.push(
    [
      "cores",
      `senders ${percent(figures.cores.senders)} of one, receivers ${percent(figures.cores.receivers)}, ` +
        `everything else on this machine ${percent(figures.cores.others)}`,
    ],
    [
      "messages",
      `${messages.queries} Queries, ${messages.permissions} Permissions, ${messages.notifies} Notifies; ` +
        `${messages.gist} of GIST by the tool`,
    ],
    [
      "signatures",
      `${signatures.made} made by the tool, ${signatures.checkedHere} checked by it too, ${signatures.badHere} bad`,
    ],
    ["bytes", `${bytes.pbs} of PBS messages, ${bytes.wire} on the links of the tool`],
  );
  return section(name, lines);
}

export function rampText({ steps, sustained, limitedBy }: RampReport): string {
  const rows = steps.map(({ rate, failure, figures }) => {
    const { router, setUp, refresh } = figures;
    const p99 = Math.max(setUp.p99, refresh.p99);
    return `  ${whole(rate).padStart(8)}  ${percent(router.share).padStart(7)}  ${p99.toFixed(0).padStart(7)}  ${failure ?? "sustained"}`;
  });
  return [
    "  pairs/s   router  p99, ms",
    ...rows,
    "",
    `sustained: ${whole(sustained)} pairs a second${limitedBy === undefined ? "; nothing held it" : `; above that ${limitedBy}`}`,
    "",
  ].join("\n");
}

export function loadPlot({ phases, samples }: LoadReport): string {
  const names = phases.map(({ name }) => name).join(", ");
  return svg({ title: `PBS signalling load: ${names}`, x: "seconds", panels: panelsOf(samples) });
}

/** Over the offered rate; the samples' course in time is in the report. */
export function rampPlot({ steps, sustained }: RampReport): string {
  const sorted = steps.toSorted((a, b) => a.rate - b.rate);
  const line = (name: string, y: (step: RampReport["steps"][number]) => number) => ({
    name,
    points: sorted.map((step) => [step.rate, y(step)] as const),
  });
  return svg({
    title: `PBS signalling ramp: ${whole(sustained)} pairs a second sustained`,
    x: "pairs a second offered",
    panels: [
      { title: "pairs a second", lines: [line("answered", ({ figures }) => figures.perSecond)] },
      {
        title: "answer, ms",
        lines: [
          line("p99", ({ figures }) => Math.max(figures.refresh.p99, figures.setUp.p99)),
          line("median", ({ figures }) => Math.max(figures.refresh.p50, figures.setUp.p50)),
        ],
      },
      {
        title: "share of a core",
        lines: [
          line("router", ({ figures }) => figures.router.share),
          line("senders", ({ figures }) => figures.cores.senders),
          line("receivers", ({ figures }) => figures.cores.receivers),
        ],
      },
    ],
  });
}

function panelsOf(samples: readonly Sample[]): Chart["panels"] {
  const line = (name: string, y: (sample: Sample) => number) => ({
    name,
    points: samples.map((sample) => [sample.at, y(sample)] as const),
  });
  return [
    { title: "flows with permission", lines: [line("live", ({ live }) => live)] },
    { title: "pairs a second", lines: [line("answered", ({ pairsPerSecond }) => pairsPerSecond)] },
    { title: "answer, ms", lines: [line("p99", ({ p99 }) => p99), line("median", ({ p50 }) => p50)] },
    {
      title: "share of a core",
      lines: [
        line("router", ({ router }) => router),
        line("senders", ({ senders }) => senders),
        line("receivers", ({ receivers }) => receivers),
      ],
    },
  ];
}

function section(title: string, lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(...lines.map(([name]) => name.length));
  return `${title}\n${lines.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join("")}`;
}

function latency({ p50, p90, p99, p999, max }: Summary): string {
  const [half, most, nearly, last] = [p50, p90, p99, p999].map(milliseconds);
  return `median ${half} ms, 90 % ${most}, 99 % ${nearly}, 99.9 % ${last}, longest ${milliseconds(max)}`;
}

function milliseconds(value: number): string {
  return value >= 100 ? whole(value) : value.toPrecision(2);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}
