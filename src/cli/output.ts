/** Standard output and error of this process. */
import type { Output } from "./command.js";

/** Ends the process quietly when the reader of the output is gone, as with `| head`. */
export function processOutput(): Output {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? 0 : 1);
  });
  return {
    write: (text) =>
      new Promise((resolve) => {
        process.stdout.write(text, () => resolve());
      }),
    error: (text) => void process.stderr.write(text),
  };
}
