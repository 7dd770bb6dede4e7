import { formatSize } from "../../config/quantity.js";
import type { Explanation } from "../../control/explain.js";
import { type Command, show } from "../command.js";
import { textOf } from "../errors.js";
import { fields } from "../table.js";
import { failuresText, spiText } from "./flows.js";
import { FLOW_HELP, flowOf } from "./request.js";

export const explainCommand: Command = {
  name: "explain",
  usage: "FLOW [--subject NAME] [--fingerprint HEX]",
  summary: "Why a flow passes this node or does not, and what would change that",
  help: `${FLOW_HELP}
  --subject NAME     as if a certificate with this common name asked
  --fingerprint HEX  as if the certificate with this fingerprint asked`,
  options: { subject: { type: "string" }, fingerprint: { type: "string" } },
  arguments: { min: 1, max: 4 },
  run: async (context, parsed) => {
    const subject = textOf(parsed, "subject");
    const fingerprint = textOf(parsed, "fingerprint");
    const answer = await context.client.post<Explanation>("/v1/explain", {
      flow: flowOf(parsed),
      ...(subject !== undefined && { subject }),
      ...(fingerprint !== undefined && { fingerprint: fingerprint.replaceAll(":", "").toLowerCase() }),
    });
    await show(context, answer, () => explanationText(answer));
    return 0;
  },
};

function explanationText(answer: Explanation): string {
  const { permission, counters, policy } = answer;
  const lines: (readonly [string, string])[] = [
    ["flow", answer.flow],
    ["this node", answer.role],
    ["verdict", `${answer.verdict} (engine ${answer.engine})`],
    ...answer.because.map((reason) => ["because", reason] as const),
  ];
  if (permission !== null) lines.push(["permission", `${permission.id.slice(0, 8)}, ${permission.state}`]);
  if (counters !== null)
    lines.push([
      "counters",
      `${formatSize(counters.bytes)} in ${counters.packets} packets; dropped: ${counters.overVolume} over volume, ${counters.expired} expired`,
    ]);
  const proof = counters?.authentication;
  if (proof !== undefined)
    lines.push([
      "authentication",
      `${proof.algorithm}, SPI ${spiText(proof.spi)}, sequence ${proof.sequence}; dropped: ${failuresText(proof.failures)}`,
    ]);
  for (const { rule, matched, why } of policy?.steps ?? [])
    lines.push([matched ? "rule matches" : "rule does not", `"${rule}": ${why}`]);
  if (policy !== null) lines.push(["policy says", `${policy.decision.type} ("${policy.decision.rule}")`]);
  return fields([...lines, ...answer.change.map((change) => ["would change it", change] as const)]);
}
