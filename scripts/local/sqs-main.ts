/**
 * SQS as a process of its own: fauxqs in memory, on 127.0.0.1 (its own command listens on every address), behind the
 * guard and the template's access rules. `node scripts/local/sqs-main.ts '{"port":…,"region":…,"access":…}'`. Ends with
 * its parent, whose end of standard input closes.
 */
import { buildApp } from "fauxqs";
import { AccessControl, type AccessRules, accessKeyOf } from "./iam/access.ts";
import { askedOfSqs } from "./iam/requests.ts";
import { refusalOf } from "./request-guard.ts";
import { accountId } from "./resource-names.ts";

interface Settings {
  readonly port: number;
  readonly region: string;
  readonly access: AccessRules;
}
const { port, region, access } = JSON.parse(process.argv[2] ?? "{}") as Settings;
const control = new AccessControl(access, accountId);
const app = buildApp({ logger: false, defaultRegion: region });
app.addHook("onRequest", async (request, reply) => {
  const refusal = refusalOf(request.headers);
  if (refusal !== null) await reply.code(403).type("text/plain").send(`Forbidden: ${refusal}.\n`);
});
app.addHook("preHandler", async (request, reply) => {
  const target = request.headers["x-amz-target"];
  // Only the JSON protocol, which every SDK of today speaks, names its operation so.
  if (typeof target !== "string") return;
  const asked = askedOfSqs(target, (request.body ?? {}) as Record<string, unknown>, region);
  const denial = control.denialOf(accessKeyOf(request.headers.authorization), asked);
  if (denial === null) return;
  const type = denial.kind === "unknownKey" ? "InvalidClientTokenId" : "AccessDenied";
  await reply
    .code(403)
    .header("x-amzn-query-error", `${type};Sender`)
    .type("application/x-amz-json-1.0")
    .send(JSON.stringify({ __type: `com.amazon.coral.service#${type}Exception`, message: denial.message }));
});
await app.listen({ port, host: "127.0.0.1" });
process.stdin.resume().once("end", () => process.exit(0));
