/**
 * SQS as a process of its own: fauxqs in memory, on 127.0.0.1 (its own command listens on every address).
 * `node scripts/local/sqs-main.ts '{"port":…,"region":…}'`. Ends with its parent, whose end of standard input closes.
 */
import { buildApp } from "fauxqs";
import { refusalOf } from "./request-guard.ts";

const { port, region } = JSON.parse(process.argv[2] ?? "{}") as { port: number; region: string };
const app = buildApp({ logger: false, defaultRegion: region });
app.addHook("onRequest", async (request, reply) => {
  const refusal = refusalOf(request.headers);
  if (refusal !== null) await reply.code(403).type("text/plain").send(`Forbidden: ${refusal}.\n`);
});
await app.listen({ port, host: "127.0.0.1" });
process.stdin.resume().once("end", () => process.exit(0));
