/** GET /N answers N bytes; PUT and POST take what comes and say how much it was. Usage: http-server PORT */
import { createServer } from "node:http";

const CHUNK = Buffer.alloc(64 * 1024, "permission-based sending ");
const port = Number(process.argv[2]);

const server = createServer((request, response) => {
  if (request.method === "GET") {
    let left = Number(request.url?.slice(1)) || 0;
    response.writeHead(200, { "content-length": left });
    const more = (): void => {
      while (left > 0) {
        const chunk = CHUNK.subarray(0, Math.min(left, CHUNK.length));
        left -= chunk.length;
        if (!response.write(chunk)) {
          response.once("drain", more);
          return;
        }
      }
      response.end();
    };
    more();
    return;
  }
  let received = 0;
  request.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  request.on("end", () => response.end(`${received}\n`));
  request.on("error", () => undefined);
});
server.listen(port, "::");
