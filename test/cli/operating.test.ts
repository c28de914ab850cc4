/**
 * What an engineer on call runs, over the local stack, whose IAM judges every call of it: under the operator policy, and no
 * other right.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Stack } from "aws-cdk-lib";
import { AccountRootPrincipal, PolicyStatement, Role } from "aws-cdk-lib/aws-iam";
import { OperatorPolicy } from "../../lib/constructs/operator-policy.ts";
import { alarmNames, alarms as rows } from "../../lib/contract/alarms.ts";
import { type FunctionName, functionNames, functions, isAlwaysThere } from "../../lib/contract/functions.ts";
import { deltaKey } from "../../lib/core/format/keys.ts";
import { mergeLease } from "../../lib/engine/shard/lease.ts";
import { connect } from "../../scripts/cli/deployment.ts";
import { runCommandLine } from "../../scripts/cli/program.ts";
import { accessKeyOfRole } from "../../scripts/local/iam/rules.ts";
import { accountId } from "../../scripts/local/resource-names.ts";
import { Deployed, dims, eventually, vectorOf } from "../e2e/deployed.ts";
import { recordedIn, rightsOf, unneeded } from "../e2e/needed-rights.ts";
import { chromaDirectory } from "../import/chroma-directory.ts";
import { CloudFormationServer } from "../support/cloudformation.ts";
import { CloudWatchServer, type ServedAlarm } from "../support/cloudwatch-server.ts";

jest.setTimeout(120_000);
const deployed = new Deployed();
const recordFolder = mkdtempSync(join(tmpdir(), "siltstone-allowed-"));
const recordFile = join(recordFolder, "allowed.jsonl");
const roles = {
  operator: "siltstone-operator",
  stranger: "siltstone-stranger",
  /** May look the stack up, and nothing else; and its functions' settings as well. */
  finder: "siltstone-finder",
  reader: "siltstone-reader",
} as const;

beforeAll(async () => {
  await deployed.start(null, {
    recordFile,
    add: (store) => {
      const stack = Stack.of(store);
      const person = (name: string) =>
        new Role(stack, name, { roleName: name, assumedBy: new AccountRootPrincipal() });
      person(roles.operator).addManagedPolicy(new OperatorPolicy(stack, "Operators", { store }));
      person(roles.stranger);
      const may = (action: string, resource = "*") =>
        new PolicyStatement({ actions: [action], resources: [resource] });
      const find = may("cloudformation:DescribeStacks", stack.stackId);
      person(roles.finder).addToPolicy(find);
      const reader = person(roles.reader);
      for (const right of [find, may("lambda:GetFunctionConfiguration")]) reader.addToPolicy(right);
    },
  });
  process.env.SILTSTONE_STATE_DIR = deployed.stateDir;
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  rmSync(recordFolder, { recursive: true });
});

/** One call of the command line by a user with that role; `seen` gets what it prints, at once. */
async function siltAs(
  role: string,
  args: readonly string[],
  interrupted = new AbortController().signal,
  seen: (text: string) => void = () => {},
) {
  const said = { out: "", err: "" };
  const code = await runCommandLine(args, {
    connect: (store) => connect(store, accessKeyOfRole(`role/${role}`)),
    stdin: (async function* () {})(),
    stdout: {
      write: (text) => {
        said.out += text;
        seen(text);
      },
    },
    stderr: { write: (text) => (said.err += text) },
    interrupted,
  });
  return { code, ...said };
}
const silt = (...args: string[]) => siltAs(roles.operator, args);

/** The JSON answer of a call that must succeed. */
// biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
async function answer(...args: string[]): Promise<any> {
  const said = await silt(...args, "--json");
  if (said.code !== 0) throw new Error(`silt ${args.join(" ")}: ${said.code} ${said.out} ${said.err}`);
  return JSON.parse(said.out);
}

const put = (...records: object[]) => deployed.answer("producer", { collection: "docs", records });
const record = (n: number, document = `text ${n}`) => ({ id: `r${n}`, vector: vectorOf(n), document });

test("an operator makes a collection and compacts it; a stranger is refused, and told what is missing", async () => {
  await answer("collection", "create", "docs", "--dims", String(dims));
  await put(record(1));
  expect(await answer("compact", "docs")).toMatchObject({ pending: 0 });
  expect(await siltAs(roles.stranger, ["status"])).toMatchObject({
    code: 7,
    err: expect.stringContaining("s3:ListBucket"),
  });
});

test("an operator carries a collection to another name, by files and by rows, and the environment stays as it was", async () => {
  const before = { ...process.env };
  const promote = ["promote", "docs", "--from", "local", "--to", "local", "--as", "carried"];
  expect(await answer(...promote)).toMatchObject({ way: "files", rows: 1 });
  await put(record(1));
  await answer("compact", "docs");
  expect(await answer(...promote)).toMatchObject({ way: "rows", rows: 1 });
  expect(await answer("collection", "delete", "carried", "--confirm", "carried")).toMatchObject({
    deleted: "carried",
  });
  expect(process.env).toEqual(before);
});

test("every other command has the rights that it needs", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-operating-"));
  const records = join(folder, "records.jsonl");
  writeFileSync(
    records,
    [1, 2, 3].map((n) => JSON.stringify({ id: `i${n}`, vector: vectorOf(n) })).join("\n"),
  );
  await answer("collection", "create", "other", "--dims", String(dims));
  expect(await answer("import", "other", "--records", records)).toMatchObject({ written: 3 });
  await answer("compact", "other");
  expect(await answer("count", "other", "--consistency", "strong")).toMatchObject({ count: 3 });
  expect(await answer("delete", "other", "i3")).toMatchObject({ deleted: 1 });
  await answer("compact", "other");
  expect(await answer("get", "other", "i1")).toMatchObject({ records: [{ id: "i1" }] });
  expect(await answer("query", "other", "--id", "i1")).toMatchObject({ snapshotVersion: expect.any(Number) });
  chromaDirectory("1.0.5-cosine", join(folder, "chroma"));
  const exporting = ["--source-path", `${join(folder, "chroma")}#notes`, "--prefix", "snapshot/migration"];
  expect(await answer("export-chroma", ...exporting)).toMatchObject({ rows: 639, parts: 1 });
  expect(await answer("export-chroma", ...exporting)).toMatchObject({ rows: 639, parts: 1 });
  await answer("collection", "create", "notes", "--dims", "4");
  expect(await answer("compact", "--snapshot-path", "snapshot/migration/")).toMatchObject({
    migration: { collection: "notes", written: 639, rejected: 0, done: true },
  });
  expect(await answer("count", "notes")).toMatchObject({ count: 639 });
  expect(await answer("collection", "delete", "notes", "--confirm", "notes")).toMatchObject({
    deleted: "notes",
  });
  expect((await silt("erase", "other", "i2")).code).toBe(5);
  expect(await answer("snapshot", "pin", "other", "1")).toMatchObject({ pin: { version: 1 } });
  expect(await answer("snapshot", "unpin", "other", "v1")).toMatchObject({ unpinned: "v1" });
  expect(await answer("snapshot", "diff", "other", "1", "2")).toMatchObject({ from: 1, to: 2 });
  expect(await answer("snapshot", "rollback", "other", "1")).toMatchObject({ moved: true });
  expect(await answer("snapshot", "repair", "other")).toMatchObject({ repairs: [{ outcome: "intact" }] });
  const ref = { collection: "other", shard: 0 };
  await deployed.replace(deltaKey(ref, deployed.world.clock.ulid() as never), Buffer.from("no arrow"));
  await answer("compact", "other");
  const { deltas } = await answer("quarantine", "list", "other");
  expect(await answer("quarantine", "show", "other", deltas[0].delta)).toMatchObject({ content: null });
  expect(await answer("quarantine", "retry", "other", "--all")).toMatchObject({ retried: [{}] });
  const held = { owner: "dead", leaseMs: 60_000, nowMs: Date.now() };
  await deployed.world.leases.acquire(mergeLease("other/0"), held);
  expect(await answer("lease", "release", "other", "--kind", "merge", "--confirm", "other")).toMatchObject({
    released: true,
  });
  expect(await answer("lease", "show", "other")).toMatchObject({ failed: [] });
  expect(await answer("gc", "other")).toMatchObject({ failed: [] });
  // What is no delta stays where it is; the others come back.
  const again = ["restore", "other", "--since", "2020-01-01T00:00Z", "--confirm", "other", "--json"];
  const restored = await silt(...again);
  expect(restored.code).toBe(6);
  expect(JSON.parse(restored.out)).toMatchObject({ restored: [{}, {}, {}], failed: [{}] });
  expect(await answer("verify", "other")).toMatchObject({ failed: [] });
  expect(await answer("collection", "describe", "other")).toMatchObject({ collection: { name: "other" } });
  expect(await answer("collection", "list")).toMatchObject({ unreadable: [] });
  // What the messages name is there still: after the deletion they would make no sense.
  await answer("compact");
  expect(await answer("collection", "delete", "other", "--confirm", "other")).toMatchObject({
    deleted: "other",
  });
  rmSync(folder, { recursive: true });
});

describe("dead letters", () => {
  const ids = (listed: { messages: { id: string }[] }) => listed.messages.map(({ id }) => id);

  test("are listed with their reasons, shown, sent again, and deleted when that is confirmed", async () => {
    expect(await silt("dlq", "list")).toMatchObject({ code: 0, out: "the dead-letter queue is empty\n" });
    for (let n = 0; n < 12; n++) await deployed.send(`nonsense ${n}`);
    expect(await answer("compact")).toMatchObject({ messages: { deadLettered: 12 } });
    const listed = await answer("dlq", "list");
    expect(listed).toMatchObject({ count: 12 });
    expect(listed.messages).toHaveLength(12);
    expect(listed.messages[0]).toMatchObject({
      reason: "the message is not JSON",
      sentAt: expect.any(String),
    });
    const { out } = await silt("dlq", "list", "--limit", "3");
    expect(out).toMatch(/^ID +SENT +REASON +MESSAGE\n/);
    expect(out).toContain("3 of 12");
    expect(out).toContain("→ one in full: silt dlq show ");

    const [first] = listed.messages;
    expect(await answer("dlq", "show", first.id)).toMatchObject({ id: first.id, body: first.body });
    expect(await silt("dlq", "show", "none")).toMatchObject({ code: 3 });

    expect(await answer("dlq", "redrive", first.id, "--dry-run")).toMatchObject({
      dryRun: true,
      missing: [],
    });
    expect(await answer("dlq", "list")).toMatchObject({ count: 12 });
    expect(await answer("dlq", "redrive", first.id)).toMatchObject({ redriven: [{ id: first.id }] });
    expect(await answer("dlq", "list")).toMatchObject({ count: 11 });
    // The compactor still makes no sense of it, and it comes back under a new name.
    expect(await answer("compact")).toMatchObject({ messages: { deadLettered: 1 } });
    expect(ids(await answer("dlq", "list"))).not.toContain(first.id);
    expect(await silt("dlq", "redrive", first.id)).toMatchObject({ code: 3 });
    expect((await answer("dlq", "redrive", "--all")).redriven).toHaveLength(12);
    expect(await answer("dlq", "list")).toMatchObject({ count: 0 });
    expect(await answer("compact")).toMatchObject({ messages: { deadLettered: 12 } });

    expect((await silt("dlq", "purge")).out).toContain("→ to do it: silt dlq purge --confirm local");
    expect(await answer("dlq", "purge", "--dry-run", "--confirm", "local")).toMatchObject({ purged: false });
    expect(await silt("dlq", "purge", "--confirm", "prod")).toMatchObject({ code: 2 });
    expect(await answer("dlq", "list")).toMatchObject({ count: 12 });
    expect(await answer("dlq", "purge", "--confirm", "local")).toMatchObject({ purged: true, count: 12 });
    expect(await answer("dlq", "list")).toMatchObject({ count: 0, messages: [] });
  });

  test("say which: ids or all, and not both", async () => {
    expect(await silt("dlq", "redrive")).toMatchObject({ code: 2 });
    expect(await silt("dlq", "redrive", "a", "--all")).toMatchObject({ code: 2 });
  });
});

describe("failed events", () => {
  test("are listed with what failed, run again once for all that ask for the same, and deleted", async () => {
    expect(await silt("events", "list")).toMatchObject({
      code: 0,
      out: "the queue of failed events is empty\n",
    });
    await put(record(1));
    for (const source of ["scheduled", "scheduled", "upkeep"]) await deployed.sendUndelivered({ source });
    const { messages, count } = await answer("events", "list");
    expect(count).toBe(3);
    expect(messages[0]).toMatchObject({ reason: "the role may not invoke the function" });
    expect(await silt("doctor")).toMatchObject({
      code: 1,
      out: expect.stringContaining("3 events did not reach the compactor, or failed there"),
    });
    const { out } = await silt("events", "list", "--limit", "2");
    expect(out).toMatch(/^ID +SENT +REASON +EVENT\n/);
    expect(out).toContain('{"source":');
    expect(await answer("events", "show", messages[0].id)).toMatchObject({ id: messages[0].id });
    expect(await silt("events", "show", "none")).toMatchObject({ code: 3 });
    expect(await answer("events", "redrive", "--all", "--dry-run")).toMatchObject({ dryRun: true, runs: 2 });
    const log = deployed.log("compactor").length;
    expect(await answer("events", "redrive", "--all")).toMatchObject({
      redriven: [{}, {}, {}],
      runs: 2,
      failed: [],
    });
    expect(
      deployed
        .log("compactor")
        .slice(log)
        .match(/"message":"run"/g),
    ).toHaveLength(2);
    expect(await answer("events", "list")).toMatchObject({ count: 0 });
    expect(await answer("count", "docs")).toMatchObject({ count: 1 });
    expect(await silt("events", "redrive", messages[0].id)).toMatchObject({ code: 3 });
  });

  test("one that fails again stays, and says why; they may be deleted when that is confirmed", async () => {
    for (const source of ["scheduled", "never"]) await deployed.sendUndelivered({ source });
    const said = await silt("events", "redrive", "--all", "--json");
    expect(said.code).toBe(2);
    expect(JSON.parse(said.out)).toMatchObject({
      redriven: [{ body: '{"source":"scheduled"}' }],
      failed: [{ event: '{"source":"never"}', kind: "invalid" }],
    });
    expect(await answer("events", "list")).toMatchObject({ count: 1 });
    expect(await silt("events", "redrive")).toMatchObject({ code: 2 });
    expect((await silt("events", "purge")).out).toContain("→ to do it: silt events purge --confirm local");
    expect(await answer("events", "purge", "--confirm", "local")).toMatchObject({ purged: true, count: 1 });
  });
});

describe("restoring a version", () => {
  const documents = async () => {
    const { records } = await deployed.answer("query", {
      op: "get",
      collection: "docs",
      ids: ["r1", "r2"],
      consistency: "strong",
    });
    return (records as { document: string }[]).map(({ document }) => document);
  };

  test("from what is kept, and from the bucket's noncurrent objects; it asks first", async () => {
    await put(record(1, "first"), record(2, "first"));
    await answer("compact", "docs");
    const { versions } = await answer("snapshot", "list", "docs");
    const { version, createdAt } = versions[0];
    await put(record(1, "second"), record(2, "second"));
    await answer("compact", "docs");

    const offered = await silt("restore", "docs", "--to", String(version));
    expect(offered).toMatchObject({ code: 0, out: expect.stringContaining("nothing was changed") });
    expect(offered.out).toContain(`silt restore docs --to ${version} --confirm docs`);
    expect(await documents()).toEqual(["second", "second"]);
    const asked = ["restore", "docs", "--to", createdAt];
    expect(await answer(...asked, "--confirm", "docs", "--dry-run")).toMatchObject({
      found: [{ version, from: "kept", takesBack: 2 }],
      restored: [],
    });

    // As garbage collection does, days later.
    const { manifest } = await answer("snapshot", "inspect", "docs", String(version));
    const now = (await answer("snapshot", "inspect", "docs")).manifest;
    const live = new Set(now.segments.map(({ id }: { id: string }) => id));
    const gone = manifest.segments.filter(({ id }: { id: string }) => !live.has(id));
    const old = (await deployed.keys("docs/0/")).filter(
      (key) => key.includes(manifest.commit) || gone.some(({ id }: { id: string }) => key.includes(id)),
    );
    expect(old.length).toBeGreaterThan(0);
    await deployed.world.store.delete(old);
    expect(await silt("snapshot", "rollback", "docs", String(version))).toMatchObject({ code: 3 });
    expect(await answer(...asked)).toMatchObject({ found: [{ version, from: "noncurrent" }] });
    expect(await answer(...asked, "--confirm", "docs")).toMatchObject({
      restored: [{ shard: 0, to: version, moved: true }],
      failed: [],
    });
    expect(await documents()).toEqual(["first", "first"]);
    expect(await silt("verify", "docs")).toMatchObject({ code: 0 });
  });

  test("a file that goes up in parts, and fails, is given up; it is restored by the next call", async () => {
    const large = 4_096;
    const write = async (value: number) => {
      const vector = Buffer.from(new Float32Array(large).fill(value).buffer).toString("base64");
      for (let from = 0; from < 600; from += 200)
        await deployed.answer("producer", {
          collection: "large",
          records: Array.from({ length: 200 }, (_, n) => ({ id: `r${from + n}`, vector })),
        });
      await answer("compact", "large");
    };
    await answer("collection", "create", "large", "--dims", String(large), "--metric", "l2");
    await write(1);
    const [{ version }] = (await answer("snapshot", "list", "large")).versions;
    const old = await deployed.keys("large/0/");
    await write(2);
    await deployed.world.store.delete(old.filter((key) => /segments|manifests/.test(key)));
    const again = ["restore", "large", "--to", String(version), "--confirm", "large"];
    await deployed.stack.setFaultInjection({
      faults: { seed: 1, rules: [{ kind: "internalError", probability: 1, operations: ["UploadPart"] }] },
    });
    expect(await silt(...again)).toMatchObject({ code: 5 });
    await deployed.stack.setFaultInjection({});
    expect(await answer(...again)).toMatchObject({ restored: [{ to: version }] });
    expect(await silt("verify", "large")).toMatchObject({ code: 0 });
    await answer("compact");
    await answer("collection", "delete", "large", "--confirm", "large");
  });

  test("a time before the first version, and a version that never was", async () => {
    expect(await silt("restore", "docs", "--to", "2020-01-01T00:00Z")).toMatchObject({
      code: 3,
      err: expect.stringContaining("nothing was published by then"),
    });
    expect(await silt("restore", "docs", "--to", "999999")).toMatchObject({ code: 3 });
    expect(await silt("restore", "docs", "--to", "1", "--confirm", "other")).toMatchObject({ code: 2 });
  });
});

test("optimize merges what upkeep would leave, and shows the index before and after", async () => {
  for (const n of [11, 12, 13]) {
    await put(record(n), record(1, `again ${n}`));
    await deployed.answer("compactor", { source: "scheduled" });
  }
  const [status] = (await answer("status", "docs")).shards;
  expect(status.snapshot.flatSegments).toBeGreaterThan(1);
  const optimized = await answer("optimize", "docs");
  expect(optimized.merges).toBeGreaterThan(0);
  expect(optimized.before[0]).toMatchObject({ flatSegments: status.snapshot.flatSegments });
  expect(optimized.after[0]).toMatchObject({ flatSegments: 1, graphs: 0, staleRows: 0 });
  expect(optimized.after[0].rows).toBeLessThan(optimized.before[0].rows);
  expect(await silt("optimize", "docs")).toMatchObject({
    code: 0,
    out: expect.stringContaining("there was nothing to merge"),
  });
  expect(await silt("optimize", "nowhere")).toMatchObject({ code: 3 });
});

test("logs are those of the functions, from a time on, and go on with --follow until Ctrl-C", async () => {
  const since = new Date().toISOString();
  await answer("compact", "docs");
  const said = await silt("logs", "compactor", "--since", since);
  expect(said.code).toBe(0);
  expect(said.out).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ compactor .*"message":"run"/m);
  const machine = (await silt("logs", "--since", since, "--json")).out.trim().split("\n");
  expect(machine.map((line) => JSON.parse(line).function)).toContain("compactor");
  expect((await silt("logs", "producer", "--since", since)).out).not.toContain("compactor");
  expect(await silt("logs", "nobody")).toMatchObject({ code: 2 });

  const ctrlC = new AbortController();
  let seen = "";
  const following = siltAs(
    roles.operator,
    ["logs", "compactor", "--follow", "--since", since],
    ctrlC.signal,
    (text) => {
      seen += text;
    },
  );
  await eventually(async () => (seen.includes('"message":"run"') ? true : undefined));
  const before = seen.length;
  await deployed.answer("compactor", { source: "manual", collection: "docs" });
  await eventually(async () => (seen.slice(before).includes('"message":"run"') ? true : undefined));
  ctrlC.abort();
  expect(await following).toMatchObject({ code: 0 });
});

test("metrics are the state as numbers, for people, machines and Prometheus", async () => {
  const { metrics } = await answer("metrics", "docs");
  expect(metrics.map(({ name }: { name: string }) => name)).toContain("siltstone_backlog_deltas");
  const { out } = await silt("metrics", "--prometheus");
  expect(out).toMatch(
    /^# HELP siltstone_rows .*\n# TYPE siltstone_rows gauge\nsiltstone_rows\{store="local",collection="docs",shard="0"\} \d+$/m,
  );
  expect(out).toMatch(/^siltstone_dead_letters\{store="local"\} 0$/m);
});

describe("status and doctor", () => {
  // biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
  const doctor = async (): Promise<{ code: number; found: any }> => {
    const { code, out } = await silt("doctor", "--json");
    return { code, found: JSON.parse(out) };
  };

  test("say that nothing is wrong, and what they looked at", async () => {
    expect(await silt("status")).toMatchObject({ code: 0, out: expect.stringContaining("dead letters: 0") });
    const { code, found } = await doctor();
    expect(found.findings.filter(({ result }: { result: string }) => result === "wrong")).toEqual([]);
    expect(code).toBe(0);
    const looked = found.findings.map(({ check }: { check: string }) => check);
    expect(looked).toEqual([
      "functions",
      "permissions",
      "schedules",
      "state",
      "failed events",
      "query",
      "newest files",
      "alarms",
    ]);
    expect((await silt("doctor")).out).toContain("nothing is wrong, as far as this looks");
  });

  test("dead letters degrade: exit 1, and what to do", async () => {
    await deployed.send("nonsense");
    await answer("compact");
    expect(await silt("status")).toMatchObject({
      code: 1,
      out: expect.stringContaining("→ 1 message in the dead-letter queue: silt dlq list"),
    });
    expect(await doctor()).toMatchObject({ code: 1, found: { ok: false } });
    await silt("dlq", "purge", "--confirm", "local");
    expect(await silt("status")).toMatchObject({ code: 0 });
  });

  test("a damaged file is found by its content, and queries that an older version answers by the views", async () => {
    await put(record(30));
    await answer("compact", "docs");
    const { manifest } = await answer("snapshot", "inspect", "docs");
    const newest = manifest.segments
      .map(({ id }: { id: string }) => id)
      .sort()
      .at(-1);
    const [key] = (await deployed.keys(`docs/0/segments/${newest}/`)).filter((one) =>
      one.endsWith("vectors.f32"),
    );
    const found = await deployed.world.store.get(key!);
    const bytes = found.kind === "found" ? found.body : Buffer.alloc(0);
    await deployed.replace(key!, Buffer.alloc(bytes.length, 1));
    // Its size is right: status cannot see it before a query has.
    await deployed.killProcesses("query");
    await deployed.answer("query", { collection: "docs", vector: vectorOf(1), topK: 1 });
    const degraded = await silt("status");
    expect(degraded).toMatchObject({
      code: 1,
      out: expect.stringContaining("queries are answered from an older version"),
    });
    const { code, found: findings } = await doctor();
    expect(code).toBe(6);
    const wrong = findings.findings.filter(({ result }: { result: string }) => result === "wrong");
    expect(wrong.map(({ check }: { check: string }) => check)).toEqual(
      expect.arrayContaining(["state", "query", "newest files"]),
    );
    for (const { advice } of wrong) expect(advice.length).toBeGreaterThan(0);
    await deployed.replace(key!, bytes);
    await deployed.killProcesses("query");
    expect((await doctor()).code).toBe(0);
  });

  test("a stranger's doctor names the rights that are missing", async () => {
    const { code, out } = await siltAs(roles.stranger, ["doctor"]);
    expect(code).toBe(7);
    for (const right of [
      "s3:ListBucket",
      "dynamodb:GetItem",
      "sqs:GetQueueAttributes",
      "lambda:InvokeFunction",
    ])
      expect(out).toContain(right);
    expect(out).toContain("→ give these credentials the operator policy");
  });

  test("status --watch looks again until Ctrl-C", async () => {
    const ctrlC = new AbortController();
    let looks = 0;
    const watching = siltAs(roles.operator, ["status", "--watch", "1", "--json"], ctrlC.signal, (text) => {
      if (text.startsWith("{") && ++looks === 2) ctrlC.abort();
    });
    expect(await watching).toMatchObject({ code: 0 });
    expect(looks).toBeGreaterThanOrEqual(2);
  });
});

describe("of a deployed store, as CloudFormation, CloudWatch and its logs tell of it", () => {
  const cloudFormation = new CloudFormationServer();
  const cloudWatch = new CloudWatchServer("us-east-1", () => deployed.stack.access);
  const name = "Operated";
  const variables = ["CLOUDFORMATION", "CLOUDWATCH", "CLOUDWATCH_LOGS"].map(
    (one) => `AWS_ENDPOINT_URL_${one}`,
  );
  /** Whose alarm of a like name is raised as well, and is none of this store's. */
  const foreign: ServedAlarm = {
    ...({ AlarmName: "theirs", StateValue: "ALARM", StateReason: "of another" } as const),
    ...{ ComparisonOperator: "GreaterThanThreshold", EvaluationPeriods: 1, Threshold: 0 },
    ...{ TreatMissingData: "missing", Namespace: "Siltstone", MetricName: "QueryErrors" },
    Dimensions: [{ Name: "store", Value: "Other/Vectors" }],
  };
  const quiet = { StateValue: "OK", StateReason: "it was never crossed" } as const;
  const alarms = (): ServedAlarm[] => [
    foreign,
    ...deployed.alarms().map((alarm) => ({ ...alarm, ...quiet })),
  ];
  const groupOf = (called: FunctionName): string =>
    deployed.stack.lambda.function(deployed.stack.outputs[functions[called].output]!).definition.logGroup!;

  beforeAll(async () => {
    await cloudFormation.start();
    await cloudWatch.start();
    cloudFormation.stacks = [{ name, outputs: deployed.stack.outputs, tags: { team: "search" } }];
    const stackArn = `arn:aws:cloudformation:us-east-1:${accountId}:stack`;
    cloudFormation.refuse = (accessKey, stack) => {
      const resource = stack === null ? "*" : `${stackArn}/${deployed.stackName}/local`;
      const asked = [{ action: "cloudformation:DescribeStacks", resource }];
      return deployed.stack.access.denialOf(accessKey, asked)?.message ?? null;
    };
    const [formation, watch] = [cloudFormation.endpoint, cloudWatch.endpoint];
    for (const [i, variable] of variables.entries()) process.env[variable] = i === 0 ? formation : watch;
    for (const one of functionNames.filter(isAlwaysThere)) cloudWatch.events.set(groupOf(one), []);
  });
  afterAll(() => {
    cloudFormation.stop();
    cloudWatch.stop();
    for (const variable of variables) delete process.env[variable];
  });

  /** The key is of the role from the first request on. */
  async function siltThere(
    role: string,
    args: readonly string[],
    ...rest: [AbortSignal?, ((text: string) => void)?]
  ) {
    const owner = process.env.AWS_ACCESS_KEY_ID;
    process.env.AWS_ACCESS_KEY_ID = accessKeyOfRole(`role/${role}`);
    try {
      return await siltAs(role, ["--stack", name, ...args], ...rest);
    } finally {
      process.env.AWS_ACCESS_KEY_ID = owner;
    }
  }

  test("doctor counts its alarms and no other's, names those that are raised with what to do, and says when there are none", async () => {
    cloudWatch.alarms = alarms();
    const well = await siltThere(roles.operator, ["doctor"]);
    expect(well).toMatchObject({ code: 0, err: "" });
    // This store embeds no items.
    const count = alarmNames.filter((one) => !("with" in rows[one])).length;
    expect(well.out).toMatch(new RegExp(`^alarms +ok +${count} alarms, none raised$`, "m"));
    // One of a metric, one of metric math, one of a queue.
    for (const raised of ["QueryErrors", "FunctionErrors", "FailedEvents"]) {
      const reason = "Threshold Crossed: 1 datapoint was greater";
      cloudWatch.alarms = alarms().map((alarm) =>
        alarm.AlarmName.endsWith(`-${raised}`)
          ? { ...alarm, StateValue: "ALARM", StateReason: reason }
          : alarm,
      );
      const { code, out } = await siltThere(roles.operator, ["doctor", "--json"]);
      expect(code).toBe(1);
      const found = (JSON.parse(out).findings as { check: string }[]).filter(
        ({ check }) => check === "alarms",
      );
      expect(found).toEqual([
        {
          ...{ check: "alarms", result: "wrong", found: expect.stringMatching(`-${raised}: ${reason}$`) },
          advice: [expect.stringContaining("What to do: docs/runbook.md#")],
        },
      ]);
    }
    cloudWatch.alarms = [foreign];
    expect(await siltThere(roles.operator, ["doctor"])).toMatchObject({
      code: 1,
      out: expect.stringContaining("no alarm watches this store"),
    });
  });

  test("logs come from the functions' groups, page after page; who follows sees one that came late, and each once", async () => {
    const atMs = Date.now() - 120_000;
    const event = (n: number, ms: number) => ({ eventId: `e${n}`, timestamp: ms, message: `line ${n}\n` });
    cloudWatch.events.set(
      groupOf("compactor"),
      Array.from({ length: 8 }, (_, n) => event(n, atMs + n * 1_000)),
    );
    cloudWatch.events.set(groupOf("query"), [event(100, atMs + 2_500)]);
    const lines = (out: string) =>
      out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { function: string; at: string; text: string });
    const all = lines((await siltThere(roles.operator, ["logs", "--json"])).out);
    expect(all.map(({ text }) => text)).toEqual([
      "line 0",
      "line 1",
      "line 2",
      "line 100",
      "line 3",
      "line 4",
      "line 5",
      "line 6",
      "line 7",
    ]);
    expect(all[3]).toEqual({ function: "query", at: new Date(atMs + 2_500).toISOString(), text: "line 100" });
    const since = new Date(atMs + 5_000).toISOString();
    const few = await siltThere(roles.operator, ["logs", "compactor", "--since", since]);
    expect(few.out.match(/line \d+/g)).toEqual(["line 5", "line 6", "line 7"]);

    const ctrlC = new AbortController();
    let seen = "";
    const following = siltThere(roles.operator, ["logs", "compactor", "--follow"], ctrlC.signal, (text) => {
      seen += text;
    });
    await eventually(async () => (seen.includes("line 7") ? true : undefined));
    cloudWatch.events.get(groupOf("compactor"))!.push(event(9, atMs + 9_000));
    await eventually(async () => (seen.includes("line 9") ? true : undefined));
    // Older than what was seen, by less than CloudWatch takes at most.
    cloudWatch.events.get(groupOf("compactor"))!.push(event(8, atMs + 8_000));
    await eventually(async () => (seen.includes("line 8") ? true : undefined));
    ctrlC.abort();
    expect(await following).toMatchObject({ code: 0 });
    expect(seen.match(/line \d+/g)).toEqual(
      ["0", "1", "2", "3", "4", "5", "6", "7", "9", "8"].map((n) => `line ${n}`),
    );
  });

  test("who may not is told which right is missing; by a tag, that is the one to list all stacks", async () => {
    const refused = async (role: string, ...args: string[]) => {
      const { code, err } = await siltThere(role, args);
      return { code, err };
    };
    const needs = (right: string) => ({ code: 7, err: expect.stringContaining(right) });
    expect(await refused(roles.stranger, "logs")).toEqual(needs("cloudformation:DescribeStacks"));
    expect(await refused(roles.finder, "logs")).toEqual(needs("lambda:GetFunctionConfiguration"));
    expect(await refused(roles.reader, "logs")).toEqual(needs("logs:FilterLogEvents"));
    expect((await siltThere(roles.reader, ["doctor"])).out).toContain("cloudwatch:DescribeAlarms");
    const owner = process.env.AWS_ACCESS_KEY_ID;
    process.env.AWS_ACCESS_KEY_ID = accessKeyOfRole(`role/${roles.operator}`);
    expect(await siltAs(roles.operator, ["--stack", "team=search", "status"])).toMatchObject(
      needs("cloudformation:DescribeStacks"),
    );
    process.env.AWS_ACCESS_KEY_ID = owner;
  });
});

test("each right of the operator policy, taken away, has a request refused that a test above has made", () => {
  const { rules } = deployed.stack.access;
  const operator = accessKeyOfRole(`role/${roles.operator}`);
  const rights = rightsOf(rules).filter(({ caller }) => caller === operator);
  expect(rights.length).toBeGreaterThan(20);
  const requests = recordedIn(recordFile).filter(({ accessKey }) => accessKey === operator);
  expect(unneeded(rules, rights, requests)).toEqual([]);
});
