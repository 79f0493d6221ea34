// The transport job on node-coap, as its documentation shows a server: node server.mjs PORT KEY
// Runs in the folder into which tools/fetch_peers has put the packages.
// The CBOR is read and written by hand, as in native/transport_job.h.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createRequire } from "node:module";

const coap = createRequire(`${process.cwd()}/`)("coap");

const AT_NONCE = 3, AT_NUMBER = 21, AT_MAC = 27, SIZE = 43;
const FORM = Buffer.alloc(SIZE);
FORM.set([0xa3, 0x01, 0x50], 0);
FORM.set([0x02, 0x1a], AT_NUMBER - 2);
FORM.set([0x17, 0x50], AT_MAC - 2);

const key = Buffer.from(process.argv[3], "hex");
const mac = (message) => createHmac("sha256", key).update(message.subarray(0, AT_MAC)).digest().subarray(0, SIZE - AT_MAC);
const isSame = (message, start, end) => message.compare(FORM, start, end, start, end) === 0;

function answer(payload) {
  if (payload.length !== SIZE || !isSame(payload, 0, AT_NONCE)) return null;
  if (!isSame(payload, AT_NUMBER - 2, AT_NUMBER) || !isSame(payload, AT_MAC - 2, AT_MAC)) return null;
  if (!timingSafeEqual(mac(payload), payload.subarray(AT_MAC))) return null;
  const answer = Buffer.from(payload);
  answer.writeUInt32BE((payload.readUInt32BE(AT_NUMBER) + 1) >>> 0, AT_NUMBER);
  mac(answer).copy(answer, AT_MAC);
  return answer;
}

const server = coap.createServer((request, response) => {
  const payload = request.method === "POST" && request.url === "/dpe/register" ? answer(request.payload) : null;
  response.code = payload === null ? "4.01" : "2.04";
  if (payload !== null) response.setOption("Content-Format", "application/cbor");
  response.end(payload ?? undefined);
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
