import test from "ava";
import { svg } from "./plot.js";

test("a plot has a line for each series, within its frame, and shows text as text", (t) => {
  const image = svg({
    title: 'a <b> & "c"',
    x: "seconds",
    panels: [
      {
        title: "flows",
        lines: [
          {
            name: "live",
            points: [
              [0, 0],
              [10, 730],
            ],
          },
        ],
      },
      { title: "nothing yet", lines: [{ name: "empty", points: [] }] },
    ],
  });
  t.true(image.startsWith("<svg "));
  t.false(image.includes("<b>"));
  t.true(image.includes("a &#60;b&#62; &#38; &#34;c&#34;"));
  t.is(image.match(/<polyline/g)?.length, 2);
  t.false(image.includes("NaN"));
  t.false(image.includes("Infinity"));
  t.true(image.includes(">800<"));
});
