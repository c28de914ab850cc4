/**
 * Every right of the deployed roles is used, and needed (PKG-4). The store is driven step by step under the template's roles, and what
 * each role was allowed is recorded as it was asked. Then each right is taken away in turn: each action on each resource of each
 * statement. A right without which every recorded request is allowed all the same is one that nobody needs.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { type AwsWorld, awsWorld } from "../../lib/aws/aws-world.ts";
import { type FunctionName, functions, storeOutputs } from "../../lib/contract/functions.ts";
import { synthesize } from "../../scripts/build/synthesize.ts";
import {
  AccessControl,
  type AccessRules,
  type Allowed,
  type NamedPolicy,
} from "../../scripts/local/iam/access.ts";
import { listOf } from "../../scripts/local/iam/policy.ts";
import { accountId } from "../../scripts/local/resource-names.ts";
import type { FaultRule } from "../../scripts/local/s3/fault-injection.ts";
import { type LocalStack, startLocalStack } from "../../scripts/local/stack.ts";
import { functionUrlIds, planStack } from "../../scripts/local/stack-plan.ts";
import { eventually } from "./deployed.ts";

jest.setTimeout(240_000);
const folder = mkdtempSync(join(tmpdir(), "siltstone-rights-"));
const recordFile = join(folder, "allowed.jsonl");
let stack: LocalStack;
let world: AwsWorld;
let lambda: LambdaClient;
let access: AccessRules;

beforeAll(async () => {
  const synthesis = await synthesize("dev", join(folder, "cdk.out"), { "query.groups": "2" });
  const ports = { s3: 0, sqs: 0, dynamodb: 0, lambda: 0, functionUrl: 0 };
  const stateDir = join(folder, "state");
  mkdirSync(stateDir);
  stack = await startLocalStack({ ...synthesis, stateDir, ports, scheduleEveryMs: 2_000, recordFile });
  Object.assign(process.env, stack.environment);
  const name = (key: keyof typeof storeOutputs) => stack.outputs[storeOutputs[key]]!;
  const names = { bucket: name("bucket"), table: name("table") };
  world = awsWorld({ ...names, queueUrl: name("queueUrl"), deadLetterQueueUrl: name("deadLetterQueueUrl") });
  lambda = new LambdaClient({ maxAttempts: 1 });
  const template = synthesis.template as never;
  // The same names as those that run.
  access = planStack({
    ...{ ...synthesis, template, region: stack.region, sqsEndpoint: stack.endpoints.sqs },
    functionUrls: Object.fromEntries(functionUrlIds(template).map((id) => [id, "http://127.0.0.1:1/"])),
  }).access;
});
afterAll(async () => {
  await stack?.stop();
  rmSync(folder, { recursive: true, force: true });
  lambda?.destroy();
});

async function call(name: FunctionName, event: object): Promise<Record<string, unknown>> {
  const FunctionName = stack.outputs[functions[name].output]!;
  const answer = await lambda.send(new InvokeCommand({ FunctionName, Payload: JSON.stringify(event) }));
  const said = JSON.parse(answer.Payload!.transformToString());
  if (answer.FunctionError !== undefined) throw new Error(JSON.stringify(said).slice(0, 2_000));
  return said;
}
const dims = 4_096;
const vector = (n: number) => Buffer.from(new Float32Array(dims).fill(n + 1).buffer).toString("base64");
const records = (from: number, count: number) =>
  Array.from({ length: count }, (_, n) => ({ id: `r${from + n}`, vector: vector(from + n) }));
const fault = (rule: Omit<FaultRule, "probability">) =>
  stack.setFaultInjection({ faults: { seed: 1, rules: [{ ...rule, probability: 1 }] } });

test("a collection is created, and created again", async () => {
  for (let time = 0; time < 2; time++)
    await call("collections", { name: "docs", dims, metric: "l2", shards: 2 });
});

test("records are written, also when an answer is lost", async () => {
  await call("producer", { collection: "docs", records: records(0, 40) });
  await fault({ kind: "lostAnswer", operations: ["PutObject"], keyIncludes: "/deltas/", hitsMax: 1 });
  await call("producer", { collection: "docs", records: records(40, 40) });
  await stack.setFaultInjection({});
});

test("the schedule ingests what came", async () => {
  await eventually(async () => {
    const { count } = await call("query", { op: "count", collection: "docs" }).catch(() => ({ count: 0 }));
    return count === 80 ? true : undefined;
  });
});

test("a bad message goes to the dead-letter queue, a bad delta into quarantine", async () => {
  const sqs = new SQSClient({});
  const QueueUrl = stack.outputs[storeOutputs.queueUrl]!;
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "no JSON" }));
  sqs.destroy();
  const delta = world.clock.ulid();
  await world.store.put(`docs/0/deltas/${delta}.arrow`, Buffer.from("no arrow"), { ifAbsent: true });
  await call("compactor", { source: "manual", collection: "docs" });
  await call("compactor", { source: "scheduled" });
  expect(await world.store.head(`docs/0/quarantine/${delta}.json`)).not.toBeNull();
});

test("a segment that goes up in parts, and fails, is given up", async () => {
  // Nothing is ingested until all is there: then the segments are large.
  await fault({ kind: "internalError", operations: ["PutObject", "UploadPart"], keyIncludes: "/segments/" });
  for (let part = 0; part < 7; part++)
    await call("producer", { collection: "docs", records: records(1_000 + part * 200, 200) });
  // A run of the schedule may have the shards' leases.
  await eventually(async () => {
    await call("compactor", { source: "manual", collection: "docs" }).catch(() => undefined);
    return readFileSync(recordFile, "utf8").includes("s3:AbortMultipartUpload") ? true : undefined;
  });
  await stack.setFaultInjection({});
  await call("compactor", { source: "manual", collection: "docs" });
});

test("what a crash left behind is collected when it is old", async () => {
  const old = "01JD0000000000000000000000";
  const orphans = [`docs/0/segments/${old}/records.db`, `docs/0/manifests/000000000001-${old}.json`];
  for (const key of orphans) await world.store.put(key, Buffer.from("{}"), { ifAbsent: true });
  await call("compactor", { source: "manual", collection: "docs" });
  for (const key of orphans) expect(await world.store.head(key)).toBeNull();
});

test("records are found, by the query groups", async () => {
  const answer = await call("query", {
    collection: "docs",
    vector: vector(3),
    topK: 1,
    consistency: "strong",
  });
  expect(answer).toMatchObject({ results: [{ id: "r3" }] });
});

test("who asks for a collection that is not there is told so", async () => {
  await expect(call("query", { op: "count", collection: "absent" })).rejects.toThrow("notFound");
});

describe("then", () => {
  interface Right {
    readonly caller: string;
    readonly policy: string;
    readonly statement: number;
    readonly action: string;
    readonly resource: string;
  }
  interface Document {
    readonly Version: string;
    readonly Statement: readonly Readonly<Record<string, unknown>>[];
  }
  const documentOf = ({ document }: NamedPolicy): Document => {
    const { Version, Statement } = document as { Version: string; Statement: unknown };
    return { Version, Statement: listOf(Statement) as Document["Statement"] };
  };
  /** Each action on each resource, but what Lambda and the scheduler do in a role's name, which is not emulated: logs, failed events. */
  const rightsOf = (): Right[] =>
    Object.entries(access.callers)
      .flatMap(([caller, { policies }]) =>
        policies.flatMap((policy) =>
          documentOf(policy).Statement.flatMap(({ Action, Resource }, statement) =>
            listOf(Action).flatMap((action) =>
              listOf(Resource).map((resource) => ({
                ...{ caller, policy: policy.name, statement },
                ...{ action: String(action), resource: String(resource) },
              })),
            ),
          ),
        ),
      )
      .filter(({ action, resource }) => !action.startsWith("logs:") && !resource.includes("FailedEvents"));

  /** The rules without that right: its statement is split into one for each other action and resource. */
  function without(right: Right): AccessRules {
    const rules = access.callers[right.caller]!;
    const policies = rules.policies.map((policy) => {
      if (policy.name !== right.policy) return policy;
      const { Version, Statement } = documentOf(policy);
      const left = Statement.flatMap((one, index) => {
        if (index !== right.statement) return [one];
        return listOf(one.Action).flatMap((Action) =>
          listOf(one.Resource)
            .filter((Resource) => Action !== right.action || Resource !== right.resource)
            .map((Resource) => ({ ...one, Action, Resource })),
        );
      });
      return { ...policy, document: { Version, Statement: left } };
    });
    return { ...access, callers: { ...access.callers, [right.caller]: { ...rules, policies } } };
  }

  const recorded = (): Allowed[] =>
    readFileSync(recordFile, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Allowed);

  test("each right, taken away, has a request refused that a step above has made", () => {
    const requests = recorded();
    const whole = new AccessControl(access, accountId);
    for (const { accessKey, ...asked } of requests) expect(whole.denialOf(accessKey, [asked])).toBeNull();
    const rights = rightsOf();
    expect(rights.length).toBeGreaterThan(30);
    const unneeded = rights.filter((right) => {
      const control = new AccessControl(without(right), accountId);
      return requests.every(({ accessKey, ...asked }) => control.denialOf(accessKey, [asked]) === null);
    });
    expect(unneeded).toEqual([]);
  });
});
