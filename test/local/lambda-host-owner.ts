/** A process that owns a Lambda host with one frozen and one busy sandbox, for lambda-host.test.ts to kill. */
import { join } from "node:path";
import { Guardian } from "../../scripts/local/guardian.ts";
import { LambdaHost } from "../../scripts/local/lambda/host.ts";

const [codeFolder, folder] = process.argv.slice(2) as [string, string];
const guardian = new Guardian();
const host = await LambdaHost.start({
  port: 0,
  region: "us-east-1",
  sandboxFolder: join(folder, "owned"),
  logFolder: join(folder, "owned-logs"),
  endpoints: {},
  watch: (child) => guardian.watch(child),
});
host.addFunction({
  name: "owned",
  arn: "arn:aws:lambda:us-east-1:000000000000:function:owned",
  codeFolder,
  handler: "index.handler",
  runtime: "nodejs24.x",
  memoryMegabytes: 256,
  timeoutMs: 60_000,
  environment: {},
});
const pool = host.function("owned");
const event = (value: object) => Buffer.from(JSON.stringify(value));
const frozen = pool.invoke(event({ do: "sleep", ms: 500 }));
void pool.invoke(event({ do: "sleep", ms: 60_000 }));
await frozen;
process.send!(pool.pids);
