/** Line charts as SVG, one panel below the other over a common axis. */

export interface Line {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
}

export interface Chart {
  readonly title: string;
  /** Of the axis that all panels share. */
  readonly x: string;
  readonly panels: readonly Panel[];
}

const WIDTH = 900;
const PANEL = 180;
const GAP = 46;
const LEFT = 76;
const RIGHT = 24;
const TOP = 44;
const BOTTOM = 44;
const TICKS = 4;
const COLOURS = ["#1f5fa8", "#c2491d", "#2d7d46", "#7a3e9d", "#8a6d1a"];

export function svg({ title, x, panels }: Chart): string {
  const height = TOP + panels.length * (PANEL + GAP) + BOTTOM;
  const reach = highest(
    panels.flatMap(({ lines }) => lines.flatMap(({ points }) => points.map(([at]) => at))),
  );
  const bottom = TOP + panels.length * (PANEL + GAP) - GAP;
  const body = panels.map((panel, i) => panelOf(panel, TOP + i * (PANEL + GAP) + 18, reach)).join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="${LEFT}" y="24" font-size="16">${text(title)}</text>
${body}<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${bottom + 54}" text-anchor="middle">${text(x)}</text>
</svg>
`;
}

function panelOf({ title, lines }: Panel, top: number, reach: number): string {
  const most = highest(lines.flatMap(({ points }) => points.map(([, y]) => y)));
  const across = (value: number): number => LEFT + (value / reach) * (WIDTH - LEFT - RIGHT);
  const down = (value: number): number => top + PANEL - (value / most) * PANEL;
  const parts = [`<text x="${LEFT}" y="${top - 6}">${text(title)}</text>`];
  for (let tick = 0; tick <= TICKS; tick++) {
    const [y, value] = [down((most * tick) / TICKS), (most * tick) / TICKS];
    parts.push(
      `<line x1="${LEFT}" y1="${y}" x2="${WIDTH - RIGHT}" y2="${y}" stroke="#dddddd"/>`,
      `<text x="${LEFT - 8}" y="${y + 4}" text-anchor="end">${number(value)}</text>`,
      `<text x="${across((reach * tick) / TICKS)}" y="${top + PANEL + 16}" text-anchor="middle">${number((reach * tick) / TICKS)}</text>`,
    );
  }
  lines.forEach((line, i) => {
    const colour = COLOURS[i % COLOURS.length] ?? "#000000";
    const points = line.points.map(([x, y]) => `${across(x).toFixed(1)},${down(y).toFixed(1)}`).join(" ");
    parts.push(
      `<polyline points="${points}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
      `<text x="${WIDTH - RIGHT - (lines.length - 1 - i) * 130}" y="${top - 6}" text-anchor="end" fill="${colour}">${text(line.name)}</text>`,
    );
  });
  return `${parts.join("\n")}\n`;
}

/** A round number not below any of these, and above 0. */
function highest(values: readonly number[]): number {
  const most = values.reduce((all, value) => (Number.isFinite(value) ? Math.max(all, value) : all), 0);
  if (most <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(most));
  const step = [1, 2, 4, 5, 8, 10].find((factor) => factor * unit >= most * (1 - 1e-9)) ?? 10;
  return step * unit;
}

function number(value: number): string {
  if (value === 0) return "0";
  return value >= 1000 ? value.toLocaleString("en") : String(Number(value.toPrecision(3)));
}

function text(value: string): string {
  return value.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
