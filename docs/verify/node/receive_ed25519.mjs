import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";

const raw = Buffer.from(process.env.WEBHOOK_PUBLIC_KEY.slice("whpk_".length), "base64");
const publicKey = createPublicKey({
  key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
  format: "jwk",
});

function isSigned(headers, body) {
  const timestamp = headers["webhook-timestamp"] ?? "";
  const isFresh = Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300;
  if (!/^[0-9]+$/.test(timestamp) || !isFresh) return false;
  const content = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${timestamp}.`), body]);
  return (headers["webhook-signature"] ?? "").split(" ").some((token) => {
    const [version, signature] = token.split(",");
    return version === "v1a" && verify(null, content, publicKey, Buffer.from(signature ?? "", "base64"));
  });
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  response.writeHead(isSigned(request.headers, Buffer.concat(chunks)) ? 204 : 400).end();
});

server.listen(Number(process.env.PORT ?? 8000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
