/**
 * Items through the whole store: real texts are saved by the producer function and embedded by the embedder function, in its real
 * processes over the local stack, by a provider over HTTP that throttles, refuses, breaks off and gives nonsense, while processes are killed.
 * `npm run test:wide` takes 5,000 texts.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { Stack } from "aws-cdk-lib";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import { jobWorld } from "../../lib/aws/job-world.ts";
import { type FakeProvider, startFakeProvider } from "../../lib/clients/fake-provider.ts";
import { jobsOver } from "../../lib/clients/jobs.ts";
import { OperatorPolicy } from "../../lib/constructs/operator-policy.ts";
import { jobOutputs } from "../../lib/contract/functions.ts";
import { metrics } from "../../lib/contract/metrics.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { completeProfile } from "../../lib/core/model/embedding-profile.ts";
import { requestBounds } from "../../lib/core/policy/time-bounds.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { chunkId, itemChunks } from "../../lib/jobs/chunk-rows.ts";
import { changeSettings } from "../../lib/jobs/control.ts";
import type { JobWorld } from "../../lib/jobs/save.ts";
import { connect } from "../../scripts/cli/deployment.ts";
import { runCommandLine } from "../../scripts/cli/program.ts";
import { accessKeyOfRole } from "../../scripts/local/iam/rules.ts";
import { hasDataset, readDataset } from "../support/datasets.ts";
import { Deployed, eventually } from "./deployed.ts";
import { recordedIn, rightsOf, unneeded } from "./needed-rights.ts";

const isWide = process.env.WIDE === "1";
const count = isWide ? 5_000 : 120;
jest.setTimeout(isWide ? 1_800_000 : 120_000);

const model = "text-embedding-3-small";
const name = "articles";
const dataset = "aimath-bgemicro384";
const deployed = new Deployed();
/** Who calls the command line here: by the operator policy, and no other right. */
const operator = "siltstone-operator";
const operatorKey = accessKeyOfRole(`role/${operator}`);
const recordFolder = mkdtempSync(join(tmpdir(), "siltstone-allowed-"));
const recordFile = join(recordFolder, "allowed.jsonl");
let provider: FakeProvider;
let jobs: JobWorld;
let collection: Collection;

const texts = (): string[] =>
  hasDataset(dataset)
    ? readDataset(dataset)
        .lines.slice(0, count)
        .map(({ text }, i) => `${String(text)} (${i})`)
    : Array.from({ length: count }, (_, i) =>
        `Text number ${i} is about the ${i % 7}th of seven things. `.repeat(6),
      );

beforeAll(async () => {
  provider = await startFakeProvider({ dims: 16 });
  const openai = {
    endpoint: `${provider.url}/v1`,
    models: [model],
    requestsPerMinute: 100_000,
    tokensPerMinute: 100_000_000,
  };
  await deployed.start(1_000, {
    ...{ providers: { openai }, recordFile },
    add: (store) => {
      const stack = Stack.of(store);
      const role = new Role(stack, operator, { roleName: operator, assumedBy: new AccountRootPrincipal() });
      role.addManagedPolicy(new OperatorPolicy(stack, "Operators", { store }));
    },
  });
  const { outputs } = deployed.stack;
  jobs = jobWorld(
    { table: deployed.output("table"), jobQueueUrls: outputs[jobOutputs.queueUrls]!.split(",") },
    deployed.world,
    requestBounds.person,
  );
  const profile = completeProfile({ provider: "openai", model, inputTokensMax: 120, bytesPerToken: 1 });
  ({ collection } = await createCollection(deployed.world, {
    name,
    dims: 16,
    metric: "cosine",
    shards: 2,
    embedder: profile,
  }));
  await changeSettings(
    jobs,
    { leaseSeconds: 8, intervalSeconds: 2, backoffSeconds: 1, concurrency: 8, attemptsMax: 6 },
    "test",
  );
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  rmSync(recordFolder, { recursive: true, force: true });
  await provider?.close();
});

/** One call of the command line; its JSON answer where it succeeds. */
// biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
async function silt(...args: string[]): Promise<{ code: number; out: string; value: any }> {
  process.env.SILTSTONE_STATE_DIR = deployed.stateDir;
  let out = "";
  const stdout = {
    write(text: string) {
      out += text;
    },
  };
  const code = await runCommandLine(args, {
    connect: (store) => connect(store, operatorKey),
    ...{ stdin: new PassThrough(), stdout, stderr: stdout, interrupted: new AbortController().signal },
  });
  return { code, out, value: args.includes("--json") ? JSON.parse(out.trim().split("\n").at(-1)!) : null };
}

/** Repeated, as callers are told to, where a machine that is busy with all of this was late to answer. */
async function save(items: object[], more: object = {}): Promise<{ items: { outcome: string }[] }> {
  for (let attempt = 0; ; attempt++) {
    const { value, failed } = await deployed.invoke("producer", { collection: name, items, ...more });
    if (!failed) return value;
    if (attempt === 20 || !["uncertain", "unavailable"].includes(value.errorType))
      throw new Error(JSON.stringify(value));
  }
}

const withoutSpace = (text: string): string => text.replaceAll(/\s/g, "");

/** Until no job waits or runs. */
async function worked(): Promise<void> {
  for (let quiet = 0; quiet < 3; ) {
    // A machine that is busy with all of this may be late to answer those who only look.
    const counts = await Promise.all([jobs.table.count("pending"), jobs.table.count("processing")]).catch(
      () => null,
    );
    quiet = counts?.every((count) => count === 0) ? quiet + 1 : 0;
    await sleep(200);
  }
}

/** The documents of an item's chunks, one beyond the last included, as a strong read gives them. */
async function found(wanted: ReadonlyMap<string, string>): Promise<Map<string, (string | null)[]>> {
  const asked = [...wanted].map(([item, text]) => ({
    item,
    ids: Array.from({ length: itemChunks(collection, text).length + 1 }, (_, i) => chunkId(item, i)),
  }));
  const documents = new Map<string, string>();
  const ids = asked.flatMap((one) => one.ids);
  for (let at = 0; at < ids.length; at += 500) {
    const { records } = await deployed.answer("query", {
      ...{ op: "get", collection: name, ids: ids.slice(at, at + 500) },
      ...{ consistency: "strong", include: ["document"] },
    });
    for (const record of records) if (record !== null) documents.set(record.id, record.document);
  }
  return new Map(asked.map((one) => [one.item, one.ids.map((id) => documents.get(id) ?? null)]));
}

test(`${count} real texts through a provider that fails in every way, and workers that are killed: every chunk is there once`, async () => {
  const given = texts();
  const items = given.map((text, i) => ({ id: `item-${i}`, text, metadata: { n: i }, source: "aimath" }));
  const poison = { id: "poison", text: "POISON is what the provider refuses" };
  provider.fail({ kind: "refused", input: "POISON" });
  for (const kind of ["throttled", "outage", "cut", "errorInside", "reordered"] as const)
    provider.fail({ kind, times: 3 });
  const startMs = performance.now();
  for (let at = 0; at < items.length; at += 100) {
    const priority = (["low", "normal", "high"] as const)[(at / 100) % 3];
    const answer = await save(items.slice(at, at + 100), { priority });
    expect(answer).toMatchObject({ notified: true, operationId: expect.any(String) });
  }
  await save([poison]);
  const kills = isWide ? 12 : 3;
  for (let kill = 0; kill < kills; kill++) {
    await sleep(isWide ? 5_000 : 700);
    for (const pid of deployed.pids("embedder")) process.kill(pid, "SIGKILL");
    if (kill === 1)
      for (const kind of ["fewer", "notFinite", "wrongDims"] as const) provider.fail({ kind, times: 1 });
  }
  // Edits while it runs: the last one stays, a shorter one takes its old chunks away, a deleted item goes.
  const edited = { id: "item-0", text: "short" };
  for (const text of ["first", "second ".repeat(60), edited.text])
    await save([{ id: "item-0", text }], { priority: "high" });
  await save([{ id: "item-1", operation: "delete" }]);
  await worked();
  const seconds = Math.round((performance.now() - startMs) / 1_000);
  if (isWide) process.stderr.write(`${count} items: worked off after ${seconds} s, with ${kills} kills\n`);

  const failed: string[] = [];
  for await (const page of jobs.table.list("failed")) failed.push(...page.map(({ item }) => item));
  expect(failed).toEqual(["poison"]);
  const wanted = new Map(items.map(({ id, text }) => [id, text]));
  wanted.set("item-0", edited.text);
  const seen = await found(wanted);
  for (const [item, text] of wanted) {
    const documents = seen.get(item)!;
    if (item === "item-1") expect([item, documents.filter((one) => one !== null)]).toEqual([item, []]);
    else {
      // White space that fits into no chunk is in its span alone (lib/embedding/chunks.ts).
      expect([item, documents]).toEqual([
        item,
        [...itemChunks(collection, text).map((one) => one.text), null],
      ]);
      expect(withoutSpace(documents.join(""))).toBe(withoutSpace(text));
    }
  }
  const chunks = [...wanted].reduce(
    (sum, [item, text]) => sum + (item === "item-1" ? 0 : itemChunks(collection, text).length),
    0,
  );
  expect(
    await deployed.answer("query", { op: "count", collection: name, consistency: "strong" }),
  ).toMatchObject({ count: chunks });
  const others = { without: 0, stale: 0, pending: 0, unreadable: 0, deleted: 1 };
  const { value } = await silt("embed-all", name, "analyze", "--json");
  expect(value).toMatchObject({
    ...{ total: count, standings: { with: count - 1, failed: 1, ...others } },
    toEmbed: { items: 1 },
    estimate: { chunksPerSecond: expect.any(Number), tokensPerByte: expect.any(Number) },
  });
  const { answers } = await deployed
    .answer("query", {
      collection: name,
      text: given[7]!.slice(0, 90),
      topK: 5,
      consistency: "strong",
      include: ["metadata"],
    })
    .then(({ results }) => ({ answers: results as { metadata: { item: string } }[] }));
  expect(answers.map(({ metadata }) => metadata.item)).toContain("item-7");
});

test("upstream code saves as well, and is told of the job's state; what cannot be embedded is refused before it is saved", async () => {
  const client = jobsOver(jobs);
  await client.save({ collection: name, items: [{ id: "mine", text: "by the library" }] });
  const state = await eventually(async () => {
    const now = await client.state({ collection: name, item: "mine" });
    return now?.status === "completed" ? now : undefined;
  });
  expect(state).toMatchObject({ chunks: 1, attempts: 1, error: null });
  const { problems } = await deployed.failure("producer", {
    collection: name,
    items: [{ id: "x", text: "" }],
  });
  expect(problems).toMatchObject([{ id: "x", index: 0, field: "text" }]);
  await deployed.failure("producer", { collection: name, items: [{ id: "x", text: "y" }], records: [] });
});

test("the runbook's section is walked: the commands say what failed, and mend it", async () => {
  const runbook = readFileSync(join(import.meta.dirname, "../../docs/runbook.md"), "utf8");
  const section = runbook.split(/^## /m).find((part) => part.startsWith("Jobs fail or wait"))!;
  const lines = [...section.matchAll(/^npx silt (.*)$/gm)].map(([, line]) => line!.replace("STAGE", "local"));
  expect(lines).toHaveLength(8);
  provider.heal();
  for (const line of lines) {
    const { code, out } = await silt(...line.split(" "));
    expect([line, code, out]).toEqual([line, 0, out]);
    if (line === "jobs report") expect(out).toContain("an input is not acceptable");
    if (line.startsWith("jobs retry-failed")) {
      expect(out).toContain("retried 1 job");
      await worked();
    }
    if (line === "jobs stats") expect(out).toMatch(/^failed +0$/m);
  }
});

test("an import embeds documents by the stage's provider, as the query function is configured", async () => {
  const { id: _id, format: _format, createdAt: _createdAt, ...configuration } = collection;
  await createCollection(deployed.world, { ...configuration, name: "imported" });
  const file = join(deployed.stateDir, "imported.jsonl");
  const lines = [1, 2, 3].map((n) => JSON.stringify({ id: `i${n}`, vector: [n], document: `imported ${n}` }));
  writeFileSync(file, lines.join("\n"));
  const said = { out: "", err: "" };
  const home = process.cwd();
  process.chdir(deployed.stateDir);
  const code = await runCommandLine(
    ["import", "imported", "--from", `records:${file}`, "--re-embed", "--verify"],
    {
      connect,
      ...{ stdin: new PassThrough(), interrupted: new AbortController().signal },
      stdout: { write: (text) => (said.out += text) },
      stderr: { write: (text) => (said.err += text) },
    },
  ).finally(() => process.chdir(home));
  expect({ code, ...said }).toMatchObject({
    code: 0,
    out: expect.stringContaining("verified: 3 rows"),
    err: expect.stringMatching(/^embeds about 3 texts by openai\/text-embedding-3-small/),
  });
  expect(provider.embedded).toEqual(expect.arrayContaining(["imported 1", "imported 2", "imported 3"]));
});

test("a bulk run finds the chunks that were deleted, and embeds them; after a rollback a save embeds in its call, until the next run", async () => {
  const lost = Array.from({ length: 5 }, (_, i) => chunkId(`item-${10 + i}`, 0));
  await deployed.answer("producer", { collection: name, deletes: lost });
  const dry = await silt("embed-all", name, "run", "--dry-run", "--json");
  expect(dry.value).toMatchObject({ queued: 5, pending: 0 });
  expect((await silt("embed-all", name, "run", "--json")).value).toMatchObject({
    ...dry.value,
    dryRun: false,
    run: expect.any(String),
  });
  expect((await silt("embed-all", name, "status", "LATEST", "--follow", "--json")).value).toMatchObject({
    now: { with: 5 },
  });

  expect((await silt("embed-all", name, "rollback", "--confirm", name, "--json")).value).toMatchObject({
    cancelled: 0,
  });
  await sleep(2_500);
  const { items } = await save([{ id: "in the call", text: "embedded before the answer" }]);
  expect(items).toMatchObject([{ outcome: "saved" }]);
  expect((await jobs.table.read({ collectionId: collection.id, item: "in the call" }))?.status).toBe(
    "completed",
  );
  provider.fail({ kind: "refused", input: "POISON" });
  expect(
    await deployed.failure("producer", { collection: name, items: [{ id: "again", text: "POISON again" }] }),
  ).toMatchObject({
    kind: "invalid",
    problems: [{ id: "again", index: 0 }],
  });
  provider.heal();
  expect((await silt("embed-all", name, "run", "--json")).value).toMatchObject({ queued: 1, failed: 1 });
  await worked();
  expect((await silt("embed-all", name, "analyze", "--json")).value).toMatchObject({
    inCall: false,
    toEmbed: { items: 0 },
  });
});

test("every metric of items is emitted, and no log shows a text or an id", () => {
  const logs = deployed.logLines().join("\n");
  const ofItems = Object.entries(metrics).filter(
    ([name, { emittedBy }]) => emittedBy === "embedder" || name === "ItemsSaved",
  );
  const emitted = ofItems.map(([name]) => name).filter((name) => logs.includes(`{"Name":"${name}",`));
  expect(emitted).toEqual(
    ofItems.map(([name]) => name).filter((name) => name !== "EmbedderErrors" || emitted.includes(name)),
  );
  const profile = { collection: name, provider: "openai", model, dims: 16 };
  expect(logs).toContain('"message":"embedding profile"');
  expect(logs).toContain(
    JSON.stringify({ ...profile, embeddingVersion: collection.embeddingVersion }).slice(1, -1),
  );
  expect(logs).not.toMatch(/POISON|item-\d|by the library|in the call/);
});

test("a message that is not a notification goes to the dead-letter queue with the reason, and holds up no other", async () => {
  const sqs = new SQSClient({});
  const [QueueUrl] = deployed.stack.outputs[jobOutputs.queueUrls]!.split(",");
  await sqs.send(new SendMessageCommand({ QueueUrl: QueueUrl!, MessageBody: "garbage" }));
  await save([{ id: "beside", text: "beside garbage" }], { priority: "high" });
  const message = await eventually(async () => {
    const { Messages } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: deployed.stack.outputs[jobOutputs.deadLetterQueueUrl]!,
        MessageAttributeNames: ["All"],
        VisibilityTimeout: 0,
      }),
    );
    return Messages?.[0];
  });
  expect(message).toMatchObject({
    Body: "garbage",
    MessageAttributes: { reason: { StringValue: "the message is not JSON" } },
  });
  await worked();
  expect((await jobs.table.read({ collectionId: collection.id, item: "beside" }))?.status).toBe("completed");
  sqs.destroy();
});

test("each right on items and jobs of the operator policy is used: taken away, a command is refused", async () => {
  await silt("jobs", "pause");
  // Workers go by it within two seconds.
  await sleep(2_100);
  for (const priority of ["high", "normal", "low"])
    await save([{ id: `by ${priority}`, text: priority }], { priority });
  const { job } = (await silt("jobs", "item", name, "by high", "--json")).value;
  const words = (line: string) => line.split(" ");
  const lines = [
    ...[`jobs cancel ${job}`, `jobs retry ${job} --force`, "jobs resume", "jobs wait-for-completion"],
    ...[
      `jobs inspect ${job}`,
      `jobs debug ${job}`,
      "jobs list",
      "jobs recent",
      "jobs export",
      "jobs metrics",
    ],
    ...[
      "jobs monitor --times 1",
      "jobs tail --times 1",
      "jobs config show",
      "jobs config set batchItems=100",
    ],
    ...[
      "jobs clear --status failed --confirm local",
      "jobs cleanup-stuck",
      "jobs dlq list",
      "jobs dlq redrive --all",
    ],
    ...[
      "jobs dlq purge --confirm local",
      "jobs ready",
      `collection delete ${name} --confirm ${name}`,
      "jobs cleanup",
    ],
  ];
  for (const line of lines) expect([line, (await silt(...words(line))).code]).toEqual([line, 0]);
  const { rules } = deployed.stack.access;
  const isOfJobs = ({ action, resource }: { action: string; resource: string }) =>
    resource.includes("StoreJobs") || /^dynamodb:(PutItem|DeleteItem|Query)$/.test(action);
  const rights = rightsOf(rules).filter((right) => right.caller === operatorKey && isOfJobs(right));
  expect(rights.length).toBeGreaterThan(10);
  const ofNoRequest = ({ action, resource }: { action: string; resource: string }) =>
    action.startsWith("lambda:") || action.startsWith("logs:") || resource.includes("LogGroup");
  const requests = recordedIn(recordFile).filter(({ accessKey }) => accessKey === operatorKey);
  expect(
    unneeded(
      rules,
      rights.filter((right) => !ofNoRequest(right)),
      requests,
    ),
  ).toEqual([]);
});
