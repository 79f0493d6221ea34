// The transport job on node-coap, as its documentation shows a server: node server.mjs PORT KEY
// Runs in the folder into which tools/fetch_peers has put the packages.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";

const coap = createRequire(`${process.cwd()}/`)("coap");
const { decode, encode } = await import(`${process.cwd()}/node_modules/cborg/cborg.js`);

const key = Buffer.from(process.argv[3], "hex");
const mac = (message) => createHmac("sha256", key).update(message.subarray(0, -16)).digest().subarray(0, 16);

function answer(payload) {
  const request = decode(payload, { useMaps: true });
  if (!timingSafeEqual(mac(payload), request.get(23))) return null;
  const fields = new Map([[1, request.get(1)], [2, request.get(2) + 1], [23, new Uint8Array(16)]]);
  const answer = Buffer.from(encode(fields));
  mac(answer).copy(answer, answer.length - 16);
  return answer;
}

const server = coap.createServer((request, response) => {
  const payload = request.method === "POST" && request.url === "/dpe/register" ? answer(request.payload) : null;
  response.code = payload === null ? "4.01" : "2.04";
  if (payload !== null) response.setOption("Content-Format", "application/cbor");
  response.end(payload ?? undefined);
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
