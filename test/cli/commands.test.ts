import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deltaKey, pointerKey } from "../../lib/core/format/keys.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { ingestLease } from "../../lib/engine/shard/lease.ts";
import { MemoryCli } from "./memory-deployment.ts";
import { vectorOf, writeFvecs } from "./vectors.ts";

const dims = 8;
let cli: MemoryCli;
beforeEach(() => {
  cli = new MemoryCli();
});
afterEach(() => cli.close());

const record = (n: number): object => ({
  id: `r${n}`,
  vector: vectorOf(n, dims),
  document: `text ${n}`,
  metadata: { n },
});
const put = (...ns: number[]) =>
  cli.run(["put", "docs", "--json"], { stdin: ns.map((n) => JSON.stringify(record(n))).join("\n") });
async function filled(): Promise<void> {
  await cli.run(["collection", "create", "docs", "--dims", String(dims), "--field", "n:number"]);
  await put(1, 2, 3);
  await cli.run(["compact", "docs"]);
}

test("usage errors exit with 2, say what is wrong, and are JSON when asked", async () => {
  expect(await cli.run(["nonsense"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("unknown command"),
  });
  expect(await cli.run(["collection", "create", "docs", "--dims", "x"])).toMatchObject({ code: 2 });
  expect(await cli.run(["query", "docs"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("exactly one of"),
  });
  const said = await cli.run([
    "collection",
    "create",
    "docs",
    "--dims",
    "3",
    "--metric",
    "manhattan",
    "--json",
  ]);
  expect(said).toMatchObject({ code: 2, err: "" });
  expect(said.json()).toMatchObject({
    error: { kind: "invalid", message: expect.stringContaining("manhattan"), problems: [] },
  });
  expect(await cli.run(["count", "docs", "--stage", "Moon"])).toMatchObject({ code: 2 });
  expect(await cli.run(["count", "../etc"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("not a collection name"),
  });
  const help = await cli.run(["--help"]);
  expect(help).toMatchObject({ code: 0, out: expect.stringContaining("Exit codes:") });
});

test("collections are created once, listed, described and deleted with the name repeated", async () => {
  const args = [
    "collection",
    "create",
    "docs",
    "--dims",
    "8",
    "--metric",
    "l2",
    "--field",
    "tags:string[]",
    "--shards",
    "2",
    "--index-m",
    "24",
  ];
  expect((await cli.run([...args, "--json"])).json()).toMatchObject({
    created: true,
    collection: { name: "docs", metric: "l2", fields: { tags: "string[]" }, shards: 2, index: { M: 24 } },
  });
  expect((await cli.run([...args, "--json"])).json()).toMatchObject({ created: false });
  expect(await cli.run(["collection", "create", "docs", "--dims", "9"])).toMatchObject({ code: 4 });
  expect((await cli.run(["collection", "list"])).out).toContain("tags:string[]");
  expect((await cli.run(["collection", "describe", "docs", "--json"])).json()).toMatchObject({
    shards: [{ shard: 0, snapshot: { version: 0 } }, { shard: 1 }],
  });
  expect(await cli.run(["collection", "delete", "docs"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("--confirm docs"),
  });
  expect(await cli.run(["collection", "delete", "docs", "--confirm", "docs"])).toMatchObject({ code: 0 });
  expect(await cli.run(["collection", "describe", "docs"])).toMatchObject({ code: 3 });
  expect(await cli.run(["collection", "delete", "docs", "--confirm", "docs"])).toMatchObject({ code: 3 });
});

test("put takes what its input may have, however large its vectors become", async () => {
  await cli.run(["collection", "create", "notes", "--embedder", "lexical"]);
  const records = Array.from({ length: 6_000 }, (_, n) => ({ id: `r${n}`, document: `note number ${n}` }));
  const answer = (await cli.run(["put", "notes", "--json"], { stdin: JSON.stringify(records) })).json<{
    token: string;
    written: number;
    deltas: object[];
  }>();
  expect(answer.written).toBe(6_000);
  expect(answer.deltas.length).toBeGreaterThan(1);
  const seen = await cli.run(["count", "notes", "--at-least", answer.token, "--json"]);
  // Nothing has been published, so the token alone is what is seen.
  expect(seen.json()).toMatchObject({ count: 6_000 });
  const bad = [...records.map(({ id }) => ({ id: `x${id}`, document: "new" })), { id: 7, document: "bad" }];
  const refused = await cli.run(["put", "notes"], { stdin: JSON.stringify(bad) });
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining("nothing was written") });
  const still = await cli.run(["count", "notes", "--consistency", "strong", "--json"]);
  expect(still.json()).toMatchObject({ count: 6_000 });
});

test("put, get, query, count and delete go through the functions", async () => {
  await cli.run(["collection", "create", "docs", "--dims", String(dims), "--field", "n:number"]);
  expect(await cli.run(["count", "docs"])).toMatchObject({
    code: 5,
    err: expect.stringContaining("silt compact docs"),
  });
  const answer = (await put(1, 2, 3)).json<{ token: string; written: number }>();
  expect(answer.written).toBe(3);
  const seen = await cli.run(["count", "docs", "--at-least", answer.token, "--json"]);
  expect(seen.json()).toMatchObject({ count: 3, deltasOverlaid: 1 });
  const named = ["--at-least", answer.token, "--embedding-version"];
  expect(await cli.run(["count", "docs", ...named, "1"])).toMatchObject({ code: 0 });
  expect(await cli.run(["count", "docs", ...named, "2"])).toMatchObject({
    code: 2,
    err: expect.stringContaining('collection docs holds "1", got "2"'),
  });
  const compacted = await cli.run(["compact", "docs", "--json"]);
  expect(compacted.json()).toMatchObject({ pending: 0, shards: [{ outcome: "done", deltas: 1, rows: 3 }] });
  const found = await cli.run([
    "query",
    "docs",
    "--id",
    "r2",
    "--top-k",
    "2",
    "--exclude",
    "r2",
    "--filter",
    '{"n":{"$gte":3}}',
    "--json",
  ]);
  expect(found.json<{ results: { id: string }[] }>().results.map(({ id }) => id)).toEqual(["r3"]);
  const shown = await cli.run([
    "query",
    "docs",
    "--vector",
    JSON.stringify(vectorOf(1, dims)),
    "--top-k",
    "1",
  ]);
  expect(shown.out).toMatch(/1\s+1\.000\s+\S+\s+r1\s+text 1/);

  expect(await cli.run(["delete", "docs", "r1", "r9"])).toMatchObject({ code: 0 });
  await cli.run(["compact"]);
  expect((await cli.run(["count", "docs"])).out).toMatch(/^2\n/);
  const got = await cli.run(["get", "docs", "r1", "r2"]);
  expect(got).toMatchObject({ code: 3, out: expect.stringContaining('"r1" does not exist') });

  const bad = await cli.run(["put", "docs", "--json"], {
    stdin: JSON.stringify([record(5), { id: "x", vector: [1] }]),
  });
  expect(bad.code).toBe(2);
  expect(bad.json()).toMatchObject({
    error: { kind: "invalid", problems: [{ id: "x", index: 1, field: "vector" }] },
  });
  expect(await cli.run(["put", "docs"], { stdin: "{ nope" })).toMatchObject({ code: 2 });
});

test("a file of vectors is answered in order, one JSON line a query", async () => {
  await filled();
  const folder = mkdtempSync(join(tmpdir(), "siltstone-cli-"));
  const path = join(folder, "q.fvecs");
  const asked = Array.from({ length: 200 }, (_, i) => (i % 3) + 1);
  writeFvecs(
    path,
    asked.map((n) => vectorOf(n, dims)),
  );
  const said = await cli.run([
    "query",
    "docs",
    "--vectors",
    path,
    "--top-k",
    "2",
    "--include",
    "none",
    "--json",
  ]);
  rmSync(folder, { recursive: true });
  const answers = said.out
    .trim()
    .split("\n")
    .map(
      (line) =>
        JSON.parse(line) as {
          snapshotVersion: number;
          results: { id: string; score: number; distance: number }[];
        },
    );
  expect(answers.map(({ results }) => results[0]?.id)).toEqual(asked.map((n) => `r${n}`));
  expect(answers[0]).toMatchObject({
    snapshotVersion: 1,
    results: [{ score: expect.any(Number), distance: expect.any(Number) }, {}],
  });
});

test("status shows backlog and last run, and advises on what is wrong", async () => {
  expect((await cli.run(["status"])).out).toContain("there are no collections");
  await filled();
  expect((await cli.run(["status"])).out).toMatch(
    /\nin order, as far as this looks: pointers, newest manifests, .*`silt verify NAME` proves contents\n/,
  );
  await put(4);
  await cli.world.clock.sleep(20 * 60_000);
  const late = await cli.run(["status", "docs", "--json"]);
  expect(late.code).toBe(1);
  expect(late.json()).toMatchObject({
    environment: "local",
    shards: [
      {
        snapshot: { version: 1, rows: 3, segments: 1 },
        backlog: { deltas: 1 },
        held: [],
        lastRun: { outcome: "done" },
      },
    ],
    advice: [expect.stringContaining("compact now: silt compact docs")],
  });
  const { nowMs } = cli.world.clock;
  const request = { owner: "dead-run", leaseMs: 60_000, nowMs: nowMs.call(cli.world.clock) };
  await cli.world.leases.acquire(ingestLease("docs/0"), request);
  const busy = await cli.run(["status"]);
  expect(busy.out).toContain("silt lease show docs");
  await cli.world.store.delete([pointerKey({ collection: "docs", shard: 0 })]);
  const damaged = await cli.run(["status"]);
  expect(damaged).toMatchObject({
    code: 6,
    out: expect.stringMatching(/docs\/0 +DAMAGED[\s\S]*silt snapshot repair docs --shard 0/),
  });
  expect((await cli.run(["snapshot", "repair", "docs", "--json"])).json()).toMatchObject({
    repairs: [{ outcome: "repaired", version: 1 }],
  });
  // What is late is so still.
  expect((await cli.run(["status"])).code).toBe(1);
  await cli.world.clock.sleep(60_000);
  await cli.run(["compact", "docs"]);
  expect(await cli.run(["status"])).toMatchObject({ code: 0 });
});

test("a damaged collection is named by every command that goes through all of them, and can be deleted", async () => {
  await filled();
  const { store } = cli.world;
  for (const body of ["{}", "hello", ""]) {
    await store.put("a/collection.json", Buffer.from(body));
    const status = await cli.run(["status", "--json"]);
    expect(status.code).toBe(6);
    expect(status.json()).toMatchObject({
      shards: [{ collection: "docs", snapshot: { rows: expect.any(Number) }, faults: [] }],
      unreadable: [{ name: "a", kind: "corrupt", message: expect.stringContaining("a/collection.json") }],
      advice: [expect.stringContaining("silt collection delete a --confirm a")],
    });
    expect((await cli.run(["status"])).out).toMatch(/a +DAMAGED/);
    expect(await cli.run(["status", "docs"])).toMatchObject({ code: 0 });
    expect(await cli.run(["collection", "list"])).toMatchObject({
      code: 6,
      out: expect.stringMatching(/docs +8[\s\S]*a +DAMAGED[\s\S]*silt collection delete a/),
    });
    for (const command of [
      ["status", "a"],
      ["verify", "a"],
      ["gc", "a"],
      ["lease", "show", "a"],
    ])
      expect(await cli.run(command)).toMatchObject({
        code: 6,
        err: expect.stringContaining("a/collection.json"),
      });
    await put(4);
    expect(await cli.run(["compact"])).toMatchObject({
      code: 6,
      err: expect.stringContaining("collection a corrupt: a/collection.json is corrupt"),
    });
    expect((await cli.run(["status", "docs", "--json"])).json()).toMatchObject({
      shards: [{ backlog: { deltas: 0 } }],
    });
    expect(await cli.run(["collection", "delete", "a"])).toMatchObject({ code: 2 });
    expect(await cli.run(["collection", "delete", "a", "--confirm", "a"])).toMatchObject({
      code: 0,
      out: "deleted a: 1 object\n",
    });
    // Of the run before: the next one has nothing to say of it.
    expect(await cli.run(["status"])).toMatchObject({
      code: 1,
      out: expect.stringContaining("last run failed"),
    });
    await cli.run(["compact"]);
    expect(await cli.run(["status"])).toMatchObject({ code: 0 });
  }
});

test("a damaged shard is its own fault in every command that goes through the shards", async () => {
  await cli.run(["collection", "create", "docs", "--dims", String(dims), "--shards", "3"]);
  const ids = Array.from({ length: 20 }, (_, n) => n);
  await put(...ids);
  await cli.run(["compact", "docs"]);
  const { store } = cli.world;
  store.bytes(pointerKey({ collection: "docs", shard: 1 }))![30]! ^= 1;
  const failed = [{ shard: 1, kind: "corrupt", message: expect.stringContaining("docs/1/pointer.json") }];
  const gc = await cli.run(["gc", "docs", "--json"]);
  expect(gc).toMatchObject({ code: 6 });
  expect(gc.json()).toMatchObject({ shards: [{ shard: 0 }, { shard: 2 }], failed });
  const listed = await cli.run(["snapshot", "list", "docs", "--json"]);
  expect(listed).toMatchObject({ code: 6 });
  expect(listed.json()).toMatchObject({ versions: [{ shard: 0 }, { shard: 2 }], failed });
  expect(await cli.run(["snapshot", "list", "docs"])).toMatchObject({
    out: expect.stringContaining("docs/1 failed (corrupt): docs/1/pointer.json"),
  });
  expect(await cli.run(["snapshot", "repair", "docs"])).toMatchObject({
    code: 6,
    out: expect.stringMatching(/docs\/0: its pointer is there[\s\S]*docs\/2: its pointer is there/),
  });
  expect((await cli.run(["collection", "describe", "docs"])).out).toMatch(
    /1 +damaged: docs\/1\/pointer.json/,
  );
  expect(await cli.run(["status"])).toMatchObject({
    code: 6,
    out: expect.stringMatching(/docs\/1 +DAMAGED/),
  });
  // Where nothing else was asked for, the command fails as its shard does.
  expect(await cli.run(["gc", "docs", "--shard", "1"])).toMatchObject({
    code: 6,
    err: expect.stringContaining("docs/1/pointer.json"),
  });
});

test("waiting for an import goes on past a damaged shard, and ends with its damage", async () => {
  await cli.run(["collection", "create", "docs", "--dims", String(dims), "--shards", "3"]);
  const { store, clock } = cli.world;
  store.bytes(pointerKey({ collection: "docs", shard: 1 }))![30]! ^= 1;
  const folder = mkdtempSync(join(tmpdir(), "siltstone-cli-wait-"));
  const path = join(folder, "rows.jsonl");
  const rows = Array.from({ length: 30 }, (_, n) => ({ id: `r${n}`, vector: vectorOf(n, dims) }));
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  let slept = 0;
  clock.onSleep = async (ms) => {
    clock.advance(ms);
    // Only now, as the schedule does; before that nothing is ingested.
    if (++slept === 3) await cli.run(["compact"]);
  };
  const said = await cli.run(["import", "docs", "--records", path, "--wait"]);
  rmSync(folder, { recursive: true });
  expect(said).toMatchObject({
    code: 6,
    err: expect.stringMatching(
      /docs\/1\/pointer\.json is corrupt: .*; the other shards' deltas are ingested/,
    ),
  });
  expect(slept).toBe(3);
  expect(store.keys("docs/").filter((key) => key.includes("/deltas/"))).toEqual([
    expect.stringContaining("docs/1/deltas/"),
  ]);
});

test("a damaged newest version is shown, and what a status does not look into is not claimed", async () => {
  await filled();
  const { store } = cli.world;
  const [records] = store.keys("docs/0/segments/").filter((key) => key.endsWith("records.db"));
  const intact = Buffer.from(store.bytes(records!)!);
  await store.delete([records!]);
  const missing = await cli.run(["status"]);
  expect(missing).toMatchObject({ code: 6, out: expect.stringMatching(/docs\/0 +1 DAMAGED/) });
  expect(missing.out).not.toContain("in order");
  expect(missing.out).toContain(`→ docs/0 is damaged: ${records} is missing`);
  expect(missing.out).toContain("→ see all of it: silt verify docs; go back: silt snapshot list docs");
  expect(await cli.run(["collection", "describe", "docs"])).toMatchObject({ code: 6 });
  await store.put(records!, intact.subarray(0, 100));
  expect((await cli.run(["status", "docs", "--json"])).json()).toMatchObject({
    shards: [{ faults: [{ part: "files", message: expect.stringContaining("has 100 bytes") }] }],
  });
  intact[50]! ^= 1;
  await store.put(records!, intact);
  expect(await cli.run(["status"])).toMatchObject({
    code: 0,
    out: expect.stringContaining("`silt verify NAME` proves contents"),
  });
  expect(await cli.run(["verify", "docs"])).toMatchObject({ code: 6 });
});

test("strangers are named by status and verify, and are no damage", async () => {
  await filled();
  const { store, clock } = cli.world;
  const lower = `docs/0/deltas/${clock.ulid().toLowerCase()}.arrow`;
  for (const key of [lower, "docs/notes.txt", "README"]) await store.put(key, Buffer.from("mine"));
  const status = await cli.run(["status"]);
  expect(status).toMatchObject({ code: 0 });
  expect(status.out).not.toContain("in order");
  expect(status.out).toContain(
    `3 objects that Siltstone did not make, neither read nor deleted by it: README, ${lower}`,
  );
  expect((await cli.run(["status", "docs", "--json"])).json()).toMatchObject({
    strangers: { count: 2, keys: [lower, "docs/notes.txt"] },
    shards: [{ strangers: { count: 1, keys: [lower] } }],
  });
  const verified = await cli.run(["verify", "docs", "--json"]);
  expect(verified).toMatchObject({ code: 0 });
  expect(verified.json()).toMatchObject({ ok: true, strangers: { count: 2 } });
  expect((await cli.run(["compact", "--json"])).json()).toMatchObject({
    strangers: { count: 2, keys: ["README", lower] },
  });
  expect(store.keys()).toEqual(expect.arrayContaining([lower, "docs/notes.txt", "README"]));
});

test("a run that failed beside its shards is told of", async () => {
  await filled();
  const receive = cli.world.queue.receive.bind(cli.world.queue);
  cli.world.queue.receive = () => Promise.reject(new SiltstoneError("unavailable", "SQS does not answer"));
  expect(await cli.run(["compact"])).toMatchObject({ code: 5 });
  cli.world.queue.receive = receive;
  expect((await cli.run(["status"])).out).toContain(
    "→ the last run failed in part: queue: receive (unavailable): SQS does not answer",
  );
});

test("a damaged pin, reason, lease and note are shown as what they are, and the pin can be removed", async () => {
  await filled();
  const { store, leases } = cli.world;
  await cli.run(["snapshot", "pin", "docs", "1"]);
  store.bytes("docs/0/pins/v1.json")![30]! ^= 1;
  expect(await cli.run(["gc", "docs"])).toMatchObject({
    code: 6,
    err: expect.stringContaining("pins/v1.json"),
  });
  expect(await cli.run(["snapshot", "unpin", "docs", "v1"])).toMatchObject({ code: 0 });
  expect(await cli.run(["gc", "docs"])).toMatchObject({ code: 0 });

  const delta = cli.world.clock.ulid();
  for (const reason of ['{"reason":5,"at":{}}', "null", "hello", '{"reason":"why"}']) {
    await store.put(`docs/0/quarantine/${delta}.arrow`, Buffer.from("no arrow"));
    await store.put(`docs/0/quarantine/${delta}.json`, Buffer.from(reason));
    expect(await cli.run(["quarantine", "list", "docs"])).toMatchObject({
      code: 0,
      out: expect.stringContaining("missing or damaged"),
    });
  }
  await cli.run(["quarantine", "retry", "docs", "--all"]);
  await cli.run(["compact", "docs"]);

  const unreadable = new SiltstoneError("corrupt", "note run/docs/0 in table t is corrupt: it is not JSON");
  leases.readNote = () => Promise.reject(unreadable);
  leases.read = () => Promise.reject(unreadable);
  expect(await cli.run(["status"])).toMatchObject({
    code: 6,
    out: expect.stringMatching(/docs\/0 +1 [\s\S]*\? +\?\n[\s\S]*leases cannot be read: note run\/docs\/0/),
  });
  expect(await cli.run(["lease", "show", "docs"])).toMatchObject({ code: 6 });
  expect(await cli.run(["verify", "docs"])).toMatchObject({ code: 0 });
});

test("verify proves a sound snapshot, and exits with 6 on damage", async () => {
  await filled();
  expect((await cli.run(["verify", "docs"])).out).toContain("docs/0  version 1: sound");
  const keys: string[] = [];
  for await (const page of cli.world.store.list("docs/0/segments/")) keys.push(...page.map(({ key }) => key));
  const found = await cli.world.store.get(keys[0]!);
  const body = found.kind === "found" ? Buffer.from(found.body) : Buffer.alloc(0);
  body[10]! ^= 1;
  await cli.world.store.put(keys[0]!, body);
  const said = await cli.run(["verify", "docs", "--json"]);
  expect(said.code).toBe(6);
  expect(said.json()).toMatchObject({
    ok: false,
    faults: 1,
    shards: [{ faults: [expect.stringContaining(keys[0]!)] }],
  });
});

test("versions are listed, compared, pinned, rolled back to, and deleted by garbage collection", async () => {
  await filled();
  for (let n = 4; n <= 15; n++) {
    await put(n);
    await cli.run(["compact", "docs"]);
  }
  const listed = (await cli.run(["snapshot", "list", "docs", "--json"])).json<{
    versions: { version: number; current: boolean }[];
  }>();
  const newest = listed.versions.length;
  expect(newest).toBeGreaterThan(13); // Twelve ingests, the first one, and at least one merge.
  expect(listed.versions.map(({ version }) => version)).toEqual(
    Array.from({ length: newest }, (_, i) => newest - i),
  );
  expect(listed.versions.map(({ current }) => current).indexOf(true)).toBe(0);
  expect((await cli.run(["snapshot", "inspect", "docs", "2", "--json"])).json()).toMatchObject({
    manifest: { version: 2, cause: "ingest" },
  });
  expect((await cli.run(["snapshot", "diff", "docs", "1", "3", "--json"])).json()).toMatchObject({
    from: 1,
    to: 3,
    kept: 1,
    added: [{ rows: 1 }, { rows: 1 }],
    removed: [],
    rows: 2,
    ingestedRows: 2,
    retiredRows: 0,
  });
  expect((await cli.run(["snapshot", "pin", "docs", "1"])).out).toContain("as v1");
  expect(await cli.run(["snapshot", "pin", "docs", "2", "--as", "v1"])).toMatchObject({ code: 4 });
  expect(await cli.run(["snapshot", "pin", "docs", "99"])).toMatchObject({ code: 3 });

  await cli.world.clock.sleep(3 * 3_600_000);
  const planned = (await cli.run(["gc", "docs", "--dry-run", "--json"])).json<{ objects: number }>();
  expect(planned.objects).toBeGreaterThan(0);
  expect((await cli.run(["gc", "docs", "--json"])).json()).toMatchObject({
    objects: planned.objects,
    dryRun: false,
  });
  expect(await cli.run(["snapshot", "rollback", "docs", "2"])).toMatchObject({ code: 3 });
  const back = await cli.run(["snapshot", "rollback", "docs", "1", "--json"]);
  expect(back.json()).toMatchObject({ from: newest, to: 1, version: newest + 1, moved: true });
  expect((await cli.run(["count", "docs", "--json"])).json()).toMatchObject({ count: 3 });
  expect((await cli.run(["verify", "docs"])).code).toBe(0);
  expect((await cli.run(["snapshot", "list", "docs"])).out).toMatch(/docs\/0\s+1\s+pin v1/);
  expect((await cli.run(["snapshot", "unpin", "docs", "v1"])).code).toBe(0);
  expect(await cli.run(["snapshot", "unpin", "docs", "v1"])).toMatchObject({ code: 3 });
});

test("a lease is taken only from the holder that is named", async () => {
  await filled();
  expect((await cli.run(["lease", "show", "docs"])).out).toContain("is held");
  const request = { owner: "somebody", leaseMs: 60_000, nowMs: cli.world.clock.nowMs() };
  await cli.world.leases.acquire(ingestLease("docs/0"), request);
  const shown = (await cli.run(["lease", "show", "docs", "--json"])).json<{
    leases: { owner: string; epoch: number }[];
  }>();
  const { owner, epoch } = shown.leases[0]!;
  expect(owner).toBe("somebody");
  expect(await cli.run(["lease", "release", "docs"])).toMatchObject({
    code: 2,
    err: expect.stringContaining(`--owner somebody --epoch ${epoch}`),
  });
  expect(
    await cli.run(["lease", "release", "docs", "--owner", "other", "--epoch", String(epoch)]),
  ).toMatchObject({ code: 4 });
  await put(4);
  expect(await cli.run(["snapshot", "rollback", "docs", "1"])).toMatchObject({ code: 4 });
  expect(
    await cli.run(["lease", "release", "docs", "--owner", owner, "--epoch", String(epoch)]),
  ).toMatchObject({ code: 0 });
  expect(await cli.run(["lease", "release", "docs", "--confirm", "docs"])).toMatchObject({
    code: 0,
    out: expect.stringContaining("nothing to release"),
  });
});

test("a delta that cannot be read is put aside, shown, and tried again", async () => {
  await filled();
  const ulid = deltaId(cli.world.clock.ulid());
  await cli.world.store.put(deltaKey({ collection: "docs", shard: 0 }, ulid), Buffer.from("no arrow"));
  const compacted = await cli.run(["compact", "docs"]);
  expect(compacted.out).toContain("silt quarantine list docs");
  expect((await cli.run(["quarantine", "list", "docs", "--json"])).json()).toMatchObject({
    deltas: [{ shard: 0, delta: ulid, bytes: 8 }],
  });
  expect((await cli.run(["quarantine", "show", "docs", ulid])).out).toContain("unreadable");
  expect(await cli.run(["quarantine", "show", "docs", cli.world.clock.ulid()])).toMatchObject({ code: 3 });
  expect(await cli.run(["quarantine", "retry", "docs"])).toMatchObject({ code: 2 });
  expect((await cli.run(["quarantine", "retry", "docs", "--all", "--json"])).json()).toMatchObject({
    retried: [{ delta: ulid }],
  });
  await cli.run(["compact", "docs"]);
  expect(
    (await cli.run(["quarantine", "list", "docs", "--json"])).json<{ deltas: object[] }>().deltas,
  ).toHaveLength(1);
  const gone = (await cli.run(["quarantine", "list", "docs", "--json"])).json<{
    deltas: { delta: string }[];
  }>();
  for (const command of ["retry", "show"])
    expect((await cli.run(["quarantine", command, "docs", ulid])).err).toContain(
      `docs has no quarantined delta ${ulid} (it was retried as ${gone.deltas[0]!.delta})`,
    );
});

test("erase deletes what lives, names where it still is and until when, and exits with 0 when it is gone", async () => {
  await filled();
  const first = await cli.run(["erase", "docs", "r2", "nobody", "--json"]);
  expect(first).toMatchObject({ code: 5 });
  expect(first.json()).toMatchObject({ gone: false, deleted: ["r2"], live: [] });
  expect(first.json<{ traces: unknown[] }>().traces).toContainEqual(
    expect.objectContaining({ shard: 0, ids: ["r2"], heldBy: ["the current version"] }),
  );
  expect((await cli.run(["get", "docs", "r2", "--consistency", "strong"])).code).toBe(3);
  const said = await cli.run(["erase", "docs", "r2"]);
  expect(said.out).toMatch(/GONE BY[\s\S]*segments\//);
  for (let day = 0; day <= 18; day++) {
    await cli.run(["compact", "docs"]);
    cli.world.clock.advance(24 * 3_600_000);
  }
  await cli.run(["compact", "docs"]);
  const last = await cli.run(["erase", "docs", "r2", "nobody", "--json"]);
  expect(last.json()).toMatchObject({ gone: true, deleted: [], traces: [] });
  expect(last.code).toBe(0);
  expect((await cli.run(["count", "docs", "--json"])).json()).toMatchObject({ count: 2 });
});
