/**
 * docs/runbook.md, walked: each fault is made on the local stack with the bundles that deploy, the commands of its section are run as they
 * stand there, and what was broken is well again. Another region: region.test.ts.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AlarmRow, alarmNames, alarms } from "../../lib/contract/alarms.ts";
import { functions } from "../../lib/contract/functions.ts";
import { pointerKey, segmentKey } from "../../lib/core/format/keys.ts";
import { readCollection, readHead } from "../../lib/engine/shard/head.ts";
import { ingestLease } from "../../lib/engine/shard/lease.ts";
import { Deployed, dims, eventually, vectorOf } from "../e2e/deployed.ts";
import { Operator, silt } from "./operator.ts";
import { partNames, Runbook, type Said } from "./runbook.ts";

jest.setTimeout(120_000);
const [, , look, mend, mended] = partNames;
const deployed = new Deployed();
const operator = new Operator(() => deployed.stack);
const runbook = new Runbook(operator.execute);
const folder = mkdtempSync(join(tmpdir(), "siltstone-runbook-"));
const one = join(folder, "one.jsonl");
/** What a bad deploy brings: code that does not start. */
const broken = join(folder, "broken");

let made = 0;
/** Of the test that runs. */
let NAME = "";
/** For commands that deploy: other sizes than the defaults. */
const sizes = { STAGE: "dev", MIB: "2048", DISK: "5000", CACHE: "1000", GROUPS: "1", CONCURRENCY: "5" };
const well = (said: readonly Said[]) => expect(said.filter(({ code }) => code !== 0)).toEqual([]);
const walk = async (title: string, part: (typeof partNames)[number], values = {}, only = /^/) => {
  const said = await runbook.run(
    title,
    part,
    { NAME, SHARD: "0", ...sizes, BUCKET: deployed.output("bucket"), ...values },
    only,
  );
  return {
    said,
    text: said.map(({ out, err }) => out + err).join("\n"),
    first: said[0]!,
    last: said.at(-1)!,
  };
};
/** Walks a part whose commands must all succeed. */
const walkWell = async (...args: Parameters<typeof walk>) => {
  const walked = await walk(...args);
  well(walked.said);
  return walked;
};
const unparted = async (title: string, values = {}, only = /^/) => {
  const values_ = { NAME, SHARD: "0", ...sizes, BUCKET: deployed.output("bucket"), ...values };
  const said = await runbook.run(title, "", values_, only);
  well(said);
  return said.map(({ out }) => out).join("\n");
};

const shard = () => ({ collection: NAME, shard: 0 });
const record = (n: number) => ({ id: `r${n}`, vector: vectorOf(n), document: `text ${n}` });
const put = async (...ns: number[]) =>
  deployed.answer("producer", { collection: NAME, records: ns.map(record) });
const run = (source = "manual") => deployed.answer("compactor", { source, collection: NAME });
const versionsOf = async (prefix: string) => {
  const said = await operator.execute([
    "aws",
    "s3api",
    "list-object-versions",
    "--bucket",
    deployed.output("bucket"),
    "--prefix",
    prefix,
  ]);
  return JSON.parse(said.out) as Record<
    "Versions" | "DeleteMarkers",
    { Key: string; VersionId: string; IsLatest: boolean }[] | undefined
  >;
};
const bodyOf = async (key: string) => {
  const found = await deployed.world.store.get(key);
  if (found.kind !== "found") throw new Error(`${key} is ${found.kind}`);
  return found.body;
};
const idsIn = async () => {
  const ids = Array.from({ length: 100 }, (_, n) => `r${n}`);
  const { records } = await deployed.answer("query", {
    op: "get",
    collection: NAME,
    ids,
    consistency: "strong",
  });
  return (records as { id: string }[]).map(({ id }) => Number(id.slice(1)));
};
const lambda = (name: keyof typeof functions) => deployed.stack.outputs[functions[name].output]!;

beforeAll(async () => {
  await deployed.start(null);
  process.env.SILTSTONE_STATE_DIR = deployed.stateDir;
  writeFileSync(one, JSON.stringify(record(99)));
  mkdirSync(broken);
  writeFileSync(join(broken, "handler.js"), "throw new Error('a bad deploy');\n");
});
afterAll(async () => {
  await deployed.stop();
  deployed.remove();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  NAME = `docs-${made++}`;
  const said = await silt(["collection", "create", NAME, "--dims", String(dims), "--metric", "l2"]);
  expect(said).toMatchObject({ code: 0, err: "" });
});
afterEach(async () => {
  await operator.restore();
  await silt(["collection", "delete", NAME, "--confirm", NAME]);
});

test("every section of an alarm says what it means, what users see, how to look, to mend, and to know", () => {
  for (const { title, alarms, parts } of runbook.sections.values())
    expect([title, [...parts.keys()]]).toEqual([title, alarms.length > 0 ? ["", ...partNames] : [""]]);
});

test("every alarm has its section, and every section of alarms those of the table", () => {
  const sections: Record<string, string[]> = {};
  for (const name of alarmNames) {
    const { runbook: title }: AlarmRow = alarms[name];
    sections[title] = [...(sections[title] ?? []), name];
  }
  const documented = [...runbook.sections.values()].filter((section) => section.alarms.length > 0);
  const sorted = (names: readonly string[] | undefined) => [...(names ?? [])].sort();
  for (const { title, alarms: named } of documented)
    expect([title, sorted(named)]).toEqual([title, sorted(sections[title])]);
  expect(documented.map(({ title }) => title).sort()).toEqual(Object.keys(sections).sort());
});

describe("the compactor", () => {
  test("no successful run: the function is deployed again, and runs", async () => {
    await put(1);
    await operator.replace(lambda("compactor"), { codeFolder: broken });
    const seen = await walk("No successful run", look);
    expect(seen.said[1]!.code).not.toBe(0);
    expect(seen.text).toContain("a bad deploy");
    await walkWell("No successful run", mend);
    await walkWell("No successful run", mended);
    expect(await idsIn()).toEqual([1]);
  });

  test("failed events are shown with what failed, and their work is done at once", async () => {
    await put(1);
    await operator.replace(lambda("compactor"), { codeFolder: broken });
    await deployed.sendEvent("compactor", { source: "scheduled" });
    await deployed.sendUndelivered({ source: "upkeep" });
    await eventually(async () =>
      (await silt(["events", "list"])).out.includes("2 of 2") ? true : undefined,
    );
    const listed = await walk("Failed events", look, {}, /list|status/);
    expect(listed.text).toContain("a bad deploy");
    expect(listed.text).toContain("the role may not invoke the function");
    const ID = /^([0-9a-f-]{36}) .*a bad deploy/m.exec(listed.text)![1];
    expect((await walkWell("Failed events", look, { ID }, /show/)).text).toContain('"source":"scheduled"');
    // Not mended yet: they stay.
    expect((await walk("Failed events", mend, {}, /redrive/)).first.code).not.toBe(0);
    await operator.restore();
    expect((await walkWell("Failed events", mend, {}, /redrive/)).text).toContain("did the work of 2 events");
    await walkWell("Failed events", mend, { STAGE: "local" }, /purge/);
    expect((await walkWell("Failed events", mended)).text).toContain("the queue of failed events is empty");
    expect(await idsIn()).toEqual([1]);
  });

  test("one damaged collection fails the runs, until its object is back", async () => {
    await put(1);
    const key = `${NAME}/collection.json`;
    const whole = await bodyOf(key);
    await deployed.replace(key, whole.subarray(1));
    const seen = await walk("Compaction fails", look);
    expect(seen.said.map(({ code }) => code)).toEqual([6, 6]);
    expect(seen.text).toContain(key);
    await repair(key);
    await walkWell("Compaction fails", mend);
    await walkWell("Compaction fails", mended);
    expect(await idsIn()).toEqual([1]);
  });

  test("a backlog that grows is seen, and ingested by hand", async () => {
    for (let n = 0; n < 12; n++) await put(n);
    const seen = await walk("Backlog: it grows, or its oldest delta is old", look);
    expect(seen.text).toMatch(new RegExp(`${NAME}/0 .* 12 `));
    await walkWell("Backlog: it grows, or its oldest delta is old", mend);
    const after = await walkWell("Backlog: it grows, or its oldest delta is old", mended);
    expect(after.text).toMatch(/ [kM]?B +0 +- /i);
    expect(await idsIn()).toHaveLength(12);
  });

  test("too many segments are merged", async () => {
    for (let n = 0; n < 9; n++) {
      await put(n);
      await run("scheduled");
    }
    expect((await walk("Too many segments", look)).text).toMatch(/ ago +9 +9 /);
    await walkWell("Too many segments", mend);
    expect((await walkWell("Too many segments", mended)).text).toMatch(/ ago +1 +9 /);
    expect(await idsIn()).toHaveLength(9);
  });

  test("a stuck lease is shown with its holder, released, and the shard goes on", async () => {
    await put(1);
    const dead = { owner: "dead", leaseMs: 3_600_000, nowMs: Date.now() };
    await deployed.world.leases.acquire(ingestLease(`${NAME}/0`), dead);
    const seen = await walkWell("Stuck lease", look);
    const [, KIND, OWNER, EPOCH] = /--kind (\w+) --owner (\S+) --epoch (\d+)/.exec(seen.text) ?? [];
    expect(OWNER).toBe("dead");
    await walkWell("Stuck lease", mend, { KIND, OWNER, EPOCH });
    expect((await walkWell("Stuck lease", mended)).last.out).not.toContain("dead");
    expect(await idsIn()).toEqual([1]);
  });
});

describe("messages and deltas", () => {
  test("a poison delta is put aside; the version before it, copied over it, is retried", async () => {
    await put(1);
    await put(2);
    const [key = ""] = await deployed.keys(`${NAME}/0/deltas/`);
    await deployed.replace(key, (await bodyOf(key)).subarray(0, 300));
    await run();
    expect(await idsIn()).toEqual([2]);
    const DELTA = /([0-9A-Z]{26})\.arrow$/.exec(key)![1]!;
    const seen = await walkWell("Quarantine", look, { DELTA });
    expect(seen.text).toContain(DELTA);
    const { Versions = [] } = await versionsOf(key);
    const VERSION = Versions.at(-1)!.VersionId;
    await walkWell("Quarantine", mend, { DELTA, VERSION });
    expect((await walkWell("Quarantine", mended)).text).toContain("no quarantined deltas");
    expect(await idsIn()).toEqual([1, 2]);
  });

  test("dead letters are shown with their reason, sent again, and purged", async () => {
    await deployed.send("no JSON");
    const drain = () => deployed.answer("compactor", { source: "scheduled" });
    await drain();
    const listed = await walkWell("Dead letters", look, {}, /list/);
    expect(listed.text).toContain("the message is not JSON");
    const ID = /^([0-9a-f-]{36}) /m.exec(listed.text)![1];
    await walkWell("Dead letters", look, { ID }, /show/);
    await walkWell("Dead letters", mend, {}, /redrive/);
    await drain();
    await walkWell("Dead letters", mend, { STAGE: "local" }, /purge/);
    expect((await walkWell("Dead letters", mended)).text).toContain("the dead-letter queue is empty");
  });

  test("a delta under a stranger's name gets in through quarantine, in its order", async () => {
    await put(1);
    const [key = ""] = await deployed.keys(`${NAME}/0/deltas/`);
    const KEY = key.toLowerCase();
    await deployed.replace(KEY, await bodyOf(key));
    await deployed.world.store.delete([key]);
    const DELTA = /([0-9A-Z]{26})\.arrow$/.exec(key)![1]!;
    await unparted("Strangers: objects that Siltstone did not make", { KEY, DELTA });
    await run();
    expect(await idsIn()).toEqual([1]);
  });

  test("deltas of a time are restored after a rollback; one from elsewhere comes in through quarantine", async () => {
    await put(1);
    await run();
    await put(2);
    await put(3);
    const [key = ""] = await deployed.keys(`${NAME}/0/deltas/`);
    writeFileSync(join(folder, "delta"), await bodyOf(key));
    await run();
    await silt(["snapshot", "rollback", NAME, "1"]);
    expect(await idsIn()).toEqual([1]);
    const SINCE = new Date(Date.now() - 3_600_000).toISOString();
    const title = "Deltas that were deleted, or taken back by a rollback";
    await unparted(title, { SINCE, UNTIL: new Date().toISOString() }, /silt (?!quarantine retry)/);
    expect(await idsIn()).toEqual([1, 2, 3]);
    const DELTA = deployed.world.clock.ulid();
    await unparted(title, { DELTA, FILE: join(folder, "delta") }, /put-object|retry/);
    await run();
    expect(await idsIn()).toEqual([1, 2, 3]);
  });

  test("erase names what still holds a person's data", async () => {
    await put(1);
    await run();
    const said = await runbook.run("A person wants their data deleted", "", { NAME, ID: "r1" });
    expect(said[0]).toMatchObject({ code: 5, out: expect.stringContaining("GONE BY") });
    expect(await idsIn()).toEqual([]);
  });
});

const corrupt = "Corrupt: an object is not what it should be";
const damagedOf = async (key: string) => {
  const { Versions = [], DeleteMarkers = [] } = await versionsOf(key);
  const [latest] = Versions.filter(({ IsLatest }) => IsLatest);
  return { KEY: key, DAMAGED: latest?.VersionId ?? "", MARKER: DeleteMarkers[0]?.VersionId ?? "" };
};
const repair = async (key: string) => walkWell(corrupt, mend, await damagedOf(key), /delete-object/);

describe("damage", () => {
  test.each(["warm", "cold"])(
    "a corrupt segment, %s: older answers with a warning, until the sound version is back",
    async (process) => {
      await put(1);
      await run();
      const ask = { op: "count", collection: NAME };
      expect(await deployed.answer("query", ask)).toMatchObject({ count: 1 });
      await put(2);
      await run("scheduled");
      const { manifest } = await readHead(
        deployed.world.store,
        await readCollection(deployed.world.store, NAME),
        0,
      );
      const key = segmentKey(shard(), manifest.segments.at(-1)!.id, "records.db");
      const whole = await bodyOf(key);
      await deployed.replace(key, Buffer.from(whole).fill(7, whole.length - 200));
      if (process === "cold") await deployed.killProcesses("query");
      // A warm process looks when it is asked for what is newest.
      expect(
        (await deployed.failure("query", { ...ask, consistency: "bounded", maxAgeSeconds: 0 })).kind,
      ).toBe("corrupt");
      expect(await deployed.answer("query", ask)).toMatchObject({
        count: 1,
        warning: expect.stringContaining(key),
      });
      const seen = await walk(corrupt, look, { KEY: key });
      expect(seen.said.map(({ code }) => code)).toEqual([expect.any(Number), 6, 0]);
      expect(seen.text).toContain(key);
      await repair(key);
      expect((await walkWell(corrupt, mended)).last.out).toMatch(/^2\n/);
    },
  );

  test("damage of which no sound version is left: a rollback, and the deltas once more", async () => {
    await put(1);
    await run();
    await put(2);
    await run("scheduled");
    const { manifest } = await readHead(
      deployed.world.store,
      await readCollection(deployed.world.store, NAME),
      0,
    );
    for (const id of manifest.segments.slice(1).map(({ id }) => id))
      await deployed.replace(segmentKey(shard(), id, "vectors.f32"), Buffer.from("gone"));
    await walkWell(corrupt, mend, { SNAPSHOT: "1" }, /snapshot/);
    await walkWell(corrupt, mended);
    expect(await idsIn()).toEqual([1]);
    const times = { SINCE: new Date(Date.now() - 3_600_000).toISOString(), UNTIL: new Date().toISOString() };
    await unparted("Deltas that were deleted, or taken back by a rollback", times, /restore|compact/);
    expect(await idsIn()).toEqual([1, 2]);
  });

  test("a collection whose configuration is gone for good is deleted by its name", async () => {
    await deployed.replace(`${NAME}/collection.json`, Buffer.from("no JSON"));
    await walkWell(corrupt, mend, {}, /collection delete/);
    expect((await silt(["status"])).out).not.toContain(NAME);
  });

  test.each([
    ["deleted: its marker goes", [/versions|version-id/]],
    ["deleted: it is written anew", [/repair/]],
    ["damaged: deleted, and written anew", [/delete-object .*json$/, /repair/]],
  ])("a pointer, %s", async (what, steps) => {
    await put(1);
    await run();
    await put(2);
    await run();
    const key = pointerKey(shard());
    if (what.startsWith("damaged")) await deployed.replace(key, (await bodyOf(key)).subarray(9));
    else await deployed.world.store.delete([key]);
    expect(await silt(["status", NAME])).toMatchObject({ code: 6 });
    const { MARKER } = await damagedOf(key);
    for (const step of [...steps, /verify/]) await unparted("Lost pointer", { MARKER }, step);
    expect(await idsIn()).toEqual([1, 2]);
    await put(3);
    await run();
    expect(await idsIn()).toEqual([1, 2, 3]);
  });

  test("a rollback by version, and its way back; then all of it to a time", async () => {
    await put(1);
    await run();
    const TIME = new Date().toISOString();
    await put(2);
    await run();
    const title = "Rollback, or a restore to a time";
    await unparted(title, { CURRENT: "2", FROM: "2", TO: "1" }, /snapshot/);
    expect(await idsIn()).toEqual([1]);
    expect(await silt(["snapshot", "rollback", NAME, "2"])).toMatchObject({ code: 0 });
    expect(await idsIn()).toEqual([1, 2]);
    await unparted(title, { TIME }, /--to TIME$/);
    expect(await idsIn()).toEqual([1, 2]);
    await unparted(title, { TIME }, /confirm|verify/);
    expect(await idsIn()).toEqual([1]);
  });
});

describe("the functions", () => {
  const FILE = one;

  test("a bad deploy: each function fails, and is back with the version before", async () => {
    await put(1);
    await run();
    for (const name of deployed.stack.functions) await operator.replace(name, { codeFolder: broken });
    const seen = await walk("A function fails", look, { FILE });
    expect(seen.last).toMatchObject({ code: 0, err: "", out: expect.stringContaining("a bad deploy") });
    expect(seen.said.slice(0, -1).filter(({ code }) => code === 0)).toEqual([]);
    await walkWell("A function fails", mend, { FILE });
    await walkWell("A function fails", mended, { FILE });
    expect(await idsIn()).toEqual([1, 99]);
  });

  test("the next version is deployed, fails, and is taken back while callers write and ask: nothing acknowledged is lost", async () => {
    const before = deployed.synthesis;
    const next = join(folder, "next");
    const codeFolders = Object.fromEntries(
      Object.entries(before.codeFolders).map(([id, code]) => {
        const copy = join(next, id);
        cpSync(code, copy, { recursive: true });
        // It writes as the one before, neither ingests nor answers.
        if (!/Producer|Collections/.test(id))
          writeFileSync(join(copy, "handler.js"), "throw new Error('a bad deploy');\n");
        return [id, copy];
      }),
    );
    const acknowledged: number[] = [];
    let goesOn = true;
    const writer = async (start: number): Promise<void> => {
      for (let n = start; goesOn && n < start + 40; n++) {
        const { failed } = await deployed.invoke("producer", { collection: NAME, records: [record(n)] });
        if (!failed) acknowledged.push(n);
        if (n % 5 === 0) await deployed.invoke("compactor", { source: "manual", collection: NAME });
      }
    };
    const writing = Promise.all([writer(0), writer(40)]);
    await eventually(async () => (acknowledged.length > 5 ? true : undefined));
    await deployed.stack.deploy({ ...before, codeFolders });
    const atNext = acknowledged.length;
    operator.deploys = () => deployed.stack.deploy(before);
    try {
      const seen = await walk("A function fails", look, { FILE });
      // Queries and runs fail, writes do not: the put is the second.
      expect(seen.said.map(({ code }) => code === 0)).toEqual([false, true, false, true]);
      expect(seen.text).toContain("a bad deploy");
      await eventually(async () => (acknowledged.length > atNext ? true : undefined));
      await walkWell("A function fails", mend, { FILE });
    } finally {
      operator.deploys = null;
    }
    goesOn = false;
    await writing;
    await walkWell("A function fails", mended, { FILE });
    expect(acknowledged.length).toBeGreaterThan(atNext);
    expect(await idsIn()).toEqual(expect.arrayContaining(acknowledged));
    expect(await silt(["verify", NAME])).toMatchObject({ code: 0 });
  });

  test("queries that fail for want of a version are answered after a run", async () => {
    await put(1);
    const seen = await walk("Queries fail", look);
    expect(seen.first).toMatchObject({ code: 5, err: expect.stringContaining("unavailable") });
    await walkWell("Queries fail", mend);
    expect((await walkWell("Queries fail", mended)).first.out).toMatch(/^1\n/);
  });

  test("writes that fail while the producer is broken go on after a deploy", async () => {
    await operator.replace(lambda("producer"), { codeFolder: broken });
    expect((await walk("Writes fail", look, { FILE })).first.code).not.toBe(0);
    await walkWell("Writes fail", mend, { FILE });
    await walkWell("Writes fail", mended, { FILE });
    expect(await idsIn()).toEqual([99]);
  });

  test("throttled functions answer again with more concurrency", async () => {
    await put(1);
    await run();
    for (const name of ["producer", "query"] as const)
      await operator.replace(lambda(name), { reservedConcurrency: 0 });
    const seen = await walk("Throttling", look, { FILE });
    expect(seen.said.filter(({ code }) => code === 0)).toEqual([]);
    await walkWell("Throttling", mend, { FILE });
    await walkWell("Throttling", mended, { FILE });
  });

  test("slow queries: segments are merged, and the function gets more", async () => {
    for (const n of [1, 2, 3]) {
      await put(n);
      await run("scheduled");
    }
    expect((await walk("Queries are slow", look, { ID: "r1" })).first.out).toContain("3 segments");
    await walkWell("Queries are slow", mend);
    expect((await walkWell("Queries are slow", mended, { ID: "r1" })).first.out).toContain("1 segment,");
  });

  test("a function near its memory gets more", async () => {
    await walk("A function nears its time or memory", look);
    await walkWell("A function nears its time or memory", mend);
    expect(deployed.stack.lambda.function(lambda("query")).definition.memoryMegabytes).toBe(2_048);
    await walkWell("A function nears its time or memory", mended);
  });

  test("a pin that keeps too much is taken away, and what it kept is collected", async () => {
    await put(1);
    await run();
    await silt(["snapshot", "pin", NAME, "1", "--as", "old"]);
    expect((await walkWell("Storage grows", look)).text).toContain("pin old");
    await walkWell("Storage grows", mend, { PIN: "old" });
    expect((await walkWell("Storage grows", mended)).text).not.toContain("pin old");
  });
});

test("every command of the runbook was run", () => {
  // Of the first, in test/e2e/query-groups.test.ts; of the last, in test/e2e/jobs.test.ts.
  const elsewhere = /^(A query group fails|Another region|Jobs fail or wait): /;
  expect(runbook.left.filter((line) => !elsewhere.test(line))).toEqual([]);
});
