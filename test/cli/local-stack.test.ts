/** The command line over the local stack: real processes, the bundles that deploy, and the scheduled compactor. */
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { deltaKey, pointerKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { mergeLease } from "../../lib/engine/shard/lease.ts";
import { chunkId } from "../../lib/jobs/chunk-rows.ts";
import { connect } from "../../scripts/cli/deployment.ts";
import { runCommandLine } from "../../scripts/cli/program.ts";
import { Deployed, dims, eventually, vectorOf } from "../e2e/deployed.ts";
import { documentedExamples, shapeOf } from "./document-examples.ts";
import { writeFvecs } from "./vectors.ts";

jest.setTimeout(120_000);
const deployed = new Deployed();
const folder = mkdtempSync(join(tmpdir(), "siltstone-cli-e2e-"));
const launcher = join(process.cwd(), "scripts/cli/silt.cjs");
const count = 300;

beforeAll(async () => {
  await deployed.start(1_500, { providers: {} });
  process.env.SILTSTONE_STATE_DIR = deployed.stateDir;
  const rows = Array.from({ length: count }, (_, n) =>
    JSON.stringify({ id: `r${n}`, text: `text ${n}`, kind: n % 3 === 0 ? "third" : "other" }),
  );
  writeFileSync(join(folder, "rows.jsonl"), `${rows.join("\n")}\n`);
  writeFvecs(
    join(folder, "rows.fvecs"),
    Array.from({ length: count }, (_, n) => vectorOf(n)),
  );
  writeFvecs(join(folder, "queries.fvecs"), [vectorOf(7), vectorOf(8), vectorOf(9)]);
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  rmSync(folder, { recursive: true, force: true });
});

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** One call of the command line in this process, which is quick. */
async function silt(args: readonly string[], input = ""): Promise<Said> {
  const said = { out: "", err: "" };
  const collect = (name: keyof typeof said) => ({
    write: (text: string) => {
      said[name] += text;
    },
  });
  const code = await runCommandLine(args, {
    connect,
    stdin: Readable.from([Buffer.from(input)]),
    stdout: collect("out"),
    stderr: collect("err"),
    interrupted: new AbortController().signal,
  });
  return { code, ...said };
}

/** One process of it, as `npx silt` starts it. */
function siltProcess(args: readonly string[]): Promise<Said> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [launcher, ...args],
      { cwd: folder, env: { ...process.env } },
      (error, out, err) => resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

/** The JSON answer of a call that must succeed. */
// biome-ignore lint/suspicious/noExplicitAny: answers are JSON, and matched by the tests
async function answer(...args: string[]): Promise<any> {
  const said = await silt([...args, "--json"]);
  if (said.code !== 0) throw new Error(`silt ${args.join(" ")}: ${said.code} ${said.out} ${said.err}`);
  return JSON.parse(said.out);
}

describe("the examples of docs/cli.md", () => {
  const large = 384;
  const rows = 30;
  const vector = (n: number) => Array.from({ length: large }, (_, i) => Math.sin(n * 3.1 + i));
  const jsonl = (name: string, all: readonly object[]) =>
    writeFileSync(join(folder, name), all.map((one) => `${JSON.stringify(one)}\n`).join(""));
  const hourAgo = new Date(Date.now() - 3_600_000).toISOString();
  const run = (source: string, collection = "aimath") => deployed.answer("compactor", { source, collection });
  const shown = [
    {
      ...{ id: "6db02458-ac0d-53db-9caf-ab6d7df4d437", metadata: { file: "docs/protocol.md" } },
      document: "A crash leaves garbage behind, never a wrong state",
    },
    {
      ...{ id: "c47c8be5-55b6-52fd-a3b4-93aac838fb43", metadata: { file: "README.md" } },
      document: "What a delta leaves is a segment",
    },
  ];
  const from = process.cwd();

  beforeAll(async () => {
    process.chdir(folder);
    jsonl(
      "notes.jsonl",
      Array.from({ length: rows }, (_, n) => ({ id: `note-${n}`, text: `note ${n}`, kind: "note" })),
    );
    jsonl(
      "aimath.jsonl",
      Array.from({ length: rows }, (_, n) => ({ id: `a${n}`, text: `text ${n}`, top: "04.ML", tokens: n })),
    );
    for (const [name, more] of [
      ["notes.fvecs", 0],
      ["aimath.base.fvecs", 7],
    ] as const)
      writeFvecs(
        join(folder, name),
        Array.from({ length: rows + more }, (_, n) => vector(n)),
      );
    await answer("collection", "create", "siltstone-docs", "--embedder", "lexical", "--field", "file:string");
    await silt(["put", "siltstone-docs"], shown.map((one) => JSON.stringify(one)).join("\n"));
    await answer("compact", "siltstone-docs");
  });
  afterAll(async () => {
    process.chdir(from);
    await answer("compact");
    for (const name of ["notes", "aimath", "siltstone-docs", "articles"])
      await answer("collection", "delete", name, "--confirm", name);
    for (const queue of ["dlq", "events"]) await answer(queue, "purge", "--confirm", "local");
  });

  /** What has happened before the example, by the beginning of its command. */
  const before: Readonly<Record<string, () => Promise<unknown>>> = {
    optimize: async () => {
      for (const n of [1, 2, 3]) {
        const again = { id: `a${n}`, vector: vector(n), document: "again", metadata: { top: "04.ML" } };
        await silt(["put", "aimath"], JSON.stringify(again));
        await run("scheduled");
      }
    },
    "snapshot list": async () => answer("snapshot", "pin", "aimath", "1"),
    "jobs metrics": async () => {
      await answer("collection", "create", "articles", "--embedder", "lexical", "--dims", "8");
      const items = ["a", "b", "c"].map((id) => ({ id, text: `the text of the article ${id}` }));
      await deployed.answer("producer", { collection: "articles", items });
      await answer("jobs", "wait-for-completion");
    },
    "embed-all articles analyze": async () => {
      for (const id of ["a", "b"]) await answer("delete", "articles", chunkId(id, 0));
    },
    "dlq list": async () => {
      await deployed.send("hello");
      await eventually(async () => ((await answer("dlq", "list")).count > 0 ? true : undefined));
    },
    "events list": async () => {
      await deployed.stack.setFaultInjection({
        faults: { seed: 1, rules: [{ kind: "internalError", probability: 1, operations: ["ListObjects"] }] },
      });
      await deployed.killProcesses("compactor");
      await eventually(async () => ((await answer("events", "list")).count > 0 ? true : undefined));
      await deployed.stack.setFaultInjection({});
    },
  };
  /** Times of the document are of another store. */
  const times: Readonly<Record<string, () => Promise<string>>> = {
    "2026-11-21T03:00Z": async () => hourAgo,
    "01KB2W7Q3N8M4V6TZ0R5XK9HYC": async () => (await answer("jobs", "item", "articles", "a")).job,
    "2026-11-14T03:00Z": async () => (await answer("snapshot", "list", "aimath")).versions.at(-1).createdAt,
  };
  const codes: Readonly<Record<string, number>> = { "erase notes note-17": 5 };

  const examples = documentedExamples();
  test("are those that stand there", () => expect(examples.length).toBeGreaterThan(18));

  test.each(examples.map((one) => [one.line, one] as const))("%s", async (_, { words, input, output }) => {
    const command = words.join(" ");
    for (const [start, prepare] of Object.entries(before)) if (command.startsWith(start)) await prepare();
    const given = await Promise.all(words.map((word) => times[word]?.() ?? word));
    const said = await silt(given, input);
    const printed = [...said.out.split("\n"), ...said.err.split("\n")].map(shapeOf);
    const missing = output.map(shapeOf).filter((line) => !printed.includes(line));
    // What else it printed says what is wrong with the document.
    expect(missing.length === 0 ? [] : { missing, printed }).toEqual([]);
    expect(said.code).toBe(codes[command] ?? 0);
  });
});

test("a file is imported, ingested by the scheduled compactor, and queried", async () => {
  expect(
    await answer("collection", "create", "docs", "--dims", String(dims), "--field", "kind:string"),
  ).toMatchObject({ created: true });
  const files = ["--records", join(folder, "rows.jsonl"), "--vectors", join(folder, "rows.fvecs")];
  expect(await answer("import", "docs", ...files, "--wait")).toMatchObject({
    written: count,
    rejected: 0,
    merged: true,
  });
  expect(await answer("count", "docs", "--consistency", "bounded", "--max-age", "0")).toMatchObject({
    count,
  });
  expect(await answer("count", "docs", "--filter", '{"kind":"third"}')).toMatchObject({ count: count / 3 });

  const said = await siltProcess(["query", "docs", "--vectors", "queries.fvecs", "--top-k", "3", "--json"]);
  const answers = said.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { results: { id: string }[] });
  expect(answers.map(({ results }) => results[0]?.id)).toEqual(["r7", "r8", "r9"]);
  expect(
    await answer("query", "docs", "--id", "r9", "--filter", '{"kind":"third"}', "--top-k", "1"),
  ).toMatchObject({
    results: [{ id: "r9", document: "text 9", metadata: { kind: "third" } }],
  });
  expect(await answer("status", "docs")).toMatchObject({
    environment: "local",
    shards: [{ snapshot: { rows: count }, backlog: { deltas: 0 }, quarantined: 0, faults: [] }],
    strangers: { count: 0 },
    advice: [],
  });
  expect(await answer("verify", "docs")).toMatchObject({ ok: true, shards: [{ rows: count, faults: [] }] });
});

test("a collection is carried to another local stack, and goes on there", async () => {
  const { stack, stateDir } = await deployed.startBeside();
  const sides = ["--from", "local", "--to", `local:${stateDir}`];
  const there = async (...args: string[]) => {
    const own = process.env.SILTSTONE_STATE_DIR;
    process.env.SILTSTONE_STATE_DIR = stateDir;
    try {
      return await answer(...args);
    } finally {
      process.env.SILTSTONE_STATE_DIR = own;
    }
  };
  try {
    expect(await answer("promote", "docs", ...sides, "--dry-run")).toMatchObject({
      way: "files",
      exists: false,
    });
    expect(await answer("promote", "docs", ...sides)).toMatchObject({ way: "files", rows: count });
    expect(await there("query", "docs", "--id", "r9", "--top-k", "1")).toMatchObject({
      results: [{ id: expect.any(String) }],
    });
    expect(await there("verify", "docs")).toMatchObject({ ok: true, shards: [{ rows: count }] });
    // Within one store S3 copies by itself; and row by row.
    expect(await answer("promote", "docs", "--from", "local", "--to", "local", "--as", "copy")).toMatchObject(
      {
        way: "files",
        rows: count,
      },
    );
    await answer("delete", "copy", "r1");
    await answer("compact", "copy");
    const back = ["promote", "copy", ...sides, "--as", "docs"];
    expect(await silt(back)).toMatchObject({
      code: 2,
      err: expect.stringContaining("--confirm-deletions 1"),
    });
    expect(await answer(...back, "--confirm-deletions", "1")).toMatchObject({ way: "rows", deletes: 1 });
    expect(await there("count", "docs", "--consistency", "strong")).toMatchObject({ count: count - 1 });
    expect(await answer("collection", "delete", "copy", "--confirm", "copy")).toMatchObject({
      deleted: "copy",
    });
  } finally {
    await stack.stop();
  }
});

test("writes, versions and upkeep", async () => {
  const put = await silt(["put", "docs", "--json"], JSON.stringify({ id: "new", vector: vectorOf(1000) }));
  const { token } = JSON.parse(put.out) as { token: string };
  expect(await answer("count", "docs", "--at-least", token)).toMatchObject({ count: count + 1 });
  expect(await answer("compact", "docs")).toMatchObject({ pending: 0 });
  const { versions } = await answer("snapshot", "list", "docs");
  const first = versions.at(-1).version;
  expect(await answer("snapshot", "pin", "docs", String(first))).toMatchObject({ pin: { version: first } });
  expect(await answer("snapshot", "rollback", "docs", String(first))).toMatchObject({ moved: true });
  expect(await answer("count", "docs", "--consistency", "strong")).toMatchObject({ count });
  expect(await answer("gc", "docs", "--dry-run")).toMatchObject({ dryRun: true, objects: 0 });

  // No segments are there to merge, so only a dead run holds this lease.
  const dead = { owner: "dead", leaseMs: 60_000, nowMs: Date.now() };
  await deployed.world.leases.acquire(mergeLease("docs/0"), dead);
  const { leases } = await answer("lease", "show", "docs");
  const held = (leases as { kind: string; epoch: number }[]).find(({ kind }) => kind === "merge");
  expect(held).toMatchObject({ owner: "dead", expired: false });
  const holder = ["--kind", "merge", "--owner", "dead", "--epoch", String(held?.epoch)];
  expect(await answer("lease", "release", "docs", ...holder)).toMatchObject({ released: true });

  const broken = deltaId(deployed.world.clock.ulid());
  await deployed.replace(deltaKey({ collection: "docs", shard: 0 }, broken), Buffer.from("no arrow"));
  await answer("compact", "docs");
  expect(await answer("quarantine", "list", "docs")).toMatchObject({ deltas: [{ delta: broken }] });
});

test("writes that a rollback took back are restored from the bucket's versions", async () => {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const offered = await answer("restore", "docs", "--since", since);
  expect(offered).toMatchObject({ restored: [], failed: [] });
  expect(offered.found.length).toBeGreaterThanOrEqual(2);
  expect(await answer("count", "docs", "--consistency", "strong")).toMatchObject({ count });
  const done = await siltProcess(["restore", "docs", "--since", since, "--confirm", "docs", "--json"]);
  expect({ code: done.code, err: done.err }).toEqual({ code: 0, err: "" });
  expect(JSON.parse(done.out)).toMatchObject({ found: offered.found, failed: [] });
  expect(await answer("count", "docs", "--consistency", "strong")).toMatchObject({ count: count + 1 });
  expect(await answer("compact", "docs")).toMatchObject({ pending: 0 });
  expect(await answer("count", "docs", "--consistency", "bounded", "--max-age", "0")).toMatchObject({
    count: count + 1,
  });
  expect(await answer("verify", "docs")).toMatchObject({ ok: true });
});

/** State and parent of a process; null when it is gone. */
function processOf(pid: number): { state: string; parent: number } | null {
  try {
    const [state, parent] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    return { state: state!, parent: Number(parent) };
  } catch {
    return null;
  }
}
const childOf = (parent: number): number | undefined =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => processOf(pid)?.parent === parent);
/** Z: nobody has asked yet how it ended. */
const hasEnded = (pid: number): boolean => (processOf(pid)?.state ?? "Z") === "Z";

test("an import ends with its launcher, even where that is killed; the same command then imports all of it", async () => {
  await answer("collection", "create", "killed", "--dims", String(dims));
  const lines = Array.from(
    { length: 2_500 },
    (_, n) => `${JSON.stringify({ id: `k${n}`, vector: vectorOf(n) })}\n`,
  );
  const args = (location: string) => [launcher, "import", "killed", "--from", `records:${location}`];
  const started = spawn(process.execPath, args("-"), {
    cwd: folder,
    env: { ...process.env },
    stdio: ["pipe", "ignore", "ignore"],
  });
  started.stdin!.on("error", () => {});
  // It waits for more: its standard input stays open.
  started.stdin!.write(lines.slice(0, 2_400).join(""));
  const worker = await eventually(async () => childOf(started.pid!));
  const count = async () => (await answer("count", "killed", "--consistency", "strong")).count as number;
  await eventually(async () => ((await count()) >= 2_000 ? true : undefined));
  started.kill("SIGKILL");
  await eventually(async () => (hasEnded(worker) ? true : undefined));
  writeFileSync(join(folder, "killed.jsonl"), lines.join(""));
  const again = await siltProcess([...args("killed.jsonl").slice(1), "--verify"]);
  expect(again).toMatchObject({ code: 0, out: expect.stringContaining("verified: 2500 rows") });
  expect(await count()).toBe(2_500);
  // A run that is at work would write what nothing names any more.
  expect(await silt(["compact", "killed"])).toMatchObject({ code: 0 });
  await answer("collection", "delete", "killed", "--confirm", "killed");
});

test("every kind of failure has its exit code", async () => {
  expect(await silt(["query", "docs", "--vector", "[1]"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("has 1 values instead of 8"),
  });
  expect(await siltProcess(["count", "nowhere"])).toMatchObject({ code: 3 });
  expect(await silt(["collection", "create", "docs", "--dims", "9"])).toMatchObject({ code: 4 });
  const { store } = deployed.world;
  for (const key of ["docs/0/deltas/01arz3ndektsv4rrffq69g5fav.arrow", "docs/0/Readme", "docs/Readme"])
    await deployed.replace(key, Buffer.from("mine"));
  await deployed.replace("other/collection.json", Buffer.from("hello"));
  const stranger = await silt(["status", "--json"]);
  expect(stranger.code).toBe(6);
  expect(JSON.parse(stranger.out)).toMatchObject({
    shards: [{ collection: "docs", faults: [], strangers: { count: 2 } }],
    unreadable: [{ name: "other", kind: "corrupt" }],
    strangers: { count: 3 },
  });
  expect(await answer("collection", "delete", "other", "--confirm", "other")).toMatchObject({ objects: 1 });
  const [file] = await deployed.keys("docs/0/segments/");
  const found = await store.get(file!);
  const bytes = found.kind === "found" ? found.body : Buffer.alloc(0);
  await deployed.replace(file!, bytes.subarray(1));
  expect(await silt(["status"])).toMatchObject({
    code: 6,
    out: expect.stringContaining(`is damaged: ${file} has`),
  });
  await deployed.replace(file!, bytes);
  expect(await silt(["status"])).toMatchObject({
    code: 1,
    out: expect.stringContaining("unreadable deltas were put aside"),
  });
  await store.delete([pointerKey({ collection: "docs", shard: 0 })]);
  expect(await silt(["status"])).toMatchObject({
    code: 6,
    out: expect.stringContaining("silt snapshot repair docs --shard 0"),
  });
  const verified = await silt(["verify", "docs", "--json"]);
  expect(verified.code).toBe(6);
  expect(JSON.parse(verified.out)).toMatchObject({
    ok: false,
    shards: [{ faults: [expect.stringContaining("silt snapshot repair docs")] }],
  });
  expect(await answer("snapshot", "repair", "docs")).toMatchObject({ repairs: [{ outcome: "repaired" }] });
  expect((await silt(["verify", "docs"])).code).toBe(0);
  await deployed.stop();
  expect(await siltProcess(["status"])).toMatchObject({ code: 5, err: expect.stringContaining("npm start") });
});
