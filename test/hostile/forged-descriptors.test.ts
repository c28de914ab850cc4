/**
 * What an insider writes in the place of a pointer, a manifest or a configuration, field by field, each with right seals and hashes. Whoever
 * reads it answers or says what is wrong in a line: no defect, no text that commands a terminal, nothing that takes a process, and no other
 * collection that notices. `npm run test:wide` tries every value in every field, `npm test` a part of them.
 */
import { createHash } from "node:crypto";
import { collectionKey, pointerKey } from "../../lib/core/format/keys.ts";
import { encodeSealed } from "../../lib/core/format/sealed-json.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { snapshotVersion } from "../../lib/core/model/ids.ts";
import { createCollection } from "../../lib/engine/catalog/collections.ts";
import { compact } from "../../lib/engine/compact/compact.ts";
import { rollback } from "../../lib/engine/operate/rollback.ts";
import { verify } from "../../lib/engine/operate/verify.ts";
import { Reader } from "../../lib/engine/read/reader.ts";
import { readCollection } from "../../lib/engine/shard/head.ts";
import { produce } from "../../lib/engine/write/produce.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { memoryWorld } from "../support/memory/world.ts";

const isWide = process.env.WIDE === "1";
const every = isWide ? 1 : 41;
jest.setTimeout(isWide ? 3_600_000 : 60_000);

const ref = { collection: "docs", shard: 0 };
// biome-ignore lint/suspicious/noExplicitAny: what is written is of no type
type Loose = any;
const values: Readonly<Record<string, unknown>> = {
  ...{
    nothing: undefined,
    null: null,
    "below zero": -1,
    zero: 0,
    half: 0.5,
    "beyond all": 1e308,
    exact: 2 ** 53 - 1,
  },
  ...{
    true: true,
    "no text": "",
    "a command": "\u001b[2J\u009b0m\u202e",
    up: "../../x",
    long: "x".repeat(20_000),
  },
  ...{
    "a list": [],
    lists: [[[]]],
    object: {},
    length: { length: 2 ** 32 },
    prototype: JSON.parse('{"__proto__":{"rows":1}}'),
  },
  ...{
    last: `7${"Z".repeat(25)}`,
    "the last day": "+275760-09-13T00:00:00.000Z",
    "the first": "-271821-04-20T00:00:00.000Z",
  },
};

function fieldsOf(value: Loose, path: readonly string[] = []): string[][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.keys(value).flatMap((key) => [[...path, key], ...fieldsOf(value[key], [...path, key])]);
}

function changed(original: Loose, path: readonly string[], value: unknown): Loose {
  const root = structuredClone(original);
  const parent = path.slice(0, -1).reduce((one, key) => one[key], root);
  if (value === undefined) delete parent[path.at(-1)!];
  else parent[path.at(-1)!] = value;
  return root;
}

const world = memoryWorld();
const runAll = () => compact(world, { ingest: true, upkeep: true, deadlineMs: world.clock.nowMs() + 1e9 });
let intact: ReadonlyMap<string, Buffer>;

beforeAll(async () => {
  for (const name of ["docs", "others"]) {
    await createCollection(world, { name, dims: 2, metric: "l2", fields: { kind: "string" } });
    for (let i = 0; i < 2; i++) {
      const records = [0, 1, 2].map((n) => ({ id: `r${i + n}`, vector: [n, i], metadata: { kind: "a" } }));
      await produce(world, { collection: name, records, deletes: i === 0 ? [] : ["r1"] });
      await runAll();
    }
    await produce(world, { collection: name, records: [{ id: "late", vector: [9, 9] }] });
  }
  intact = new Map(world.store.keys().map((key) => [key, Buffer.from(world.store.bytes(key)!)]));
});

async function mend(): Promise<void> {
  await world.store.delete(world.store.keys().filter((key) => !intact.has(key)));
  for (const [key, bytes] of intact)
    if (!world.store.bytes(key)?.equals(bytes)) await world.store.put(key, bytes);
}

/** What is wrong with how all readers took it. */
async function faultsOfReaders(): Promise<string[]> {
  const faults: string[] = [];
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    const started = process.cpuUsage();
    try {
      const said = JSON.stringify(await work()) ?? "";
      if (said.includes('"internal"')) faults.push(`${what}: ${said.slice(0, 300)}`);
    } catch (error) {
      const { message, stack } = error as Error;
      const isSaid = error instanceof SiltstoneError && error.kind !== "uncertain";
      if (!isSaid) faults.push(`${what}: ${stack}`);
      else if (/[\p{Cc}\p{Bidi_Control}]/u.test(message) || Buffer.byteLength(message) > 4_096)
        faults.push(`${what} says ${JSON.stringify(message)}`);
    }
    const { user, system } = process.cpuUsage(started);
    if (user + system > 3e6) faults.push(`${what} takes ${(user + system) / 1e6} s`);
  };
  const reader = new Reader(world, { refreshSeconds: 0, cacheBytesMax: 1e9, traffic: world.traffic });
  const docs = { collection: "docs" };
  for (const consistency of ["eventual", "strong"] as const) {
    await attempt("query", () => reader.query({ ...docs, vector: [1, 1], topK: 3, consistency }));
    await attempt("get", () => reader.get({ ...docs, ids: ["r2", "late"], consistency }));
  }
  await attempt("stats", () => reader.stats(docs));
  await attempt("verify", async () => verify(world, await readCollection(world.store, "docs"), 0));
  const cli = new MemoryCli(world);
  for (const command of [
    "status",
    "snapshot list docs",
    "collection show docs",
    ...(isWide ? ["doctor"] : []),
  ])
    await attempt(command, async () => {
      const { code, out, err } = await cli.run(command.split(" "));
      if (/internal|Error:/.test(out + err) || out.includes("\u001b"))
        faults.push(`silt ${command} ends with ${code}: ${out}${err}`);
    });
  await cli.close();
  await attempt("rollback", async () =>
    rollback(world, await readCollection(world.store, "docs"), 0, snapshotVersion(1)),
  );
  await attempt("produce", () => produce(world, { ...docs, records: [{ id: "n", vector: [1, 2] }] }));
  await attempt("compact", async () => {
    const { shards } = await runAll();
    const { error } = shards.find(({ collection }) => collection === "others") ?? {};
    if (error !== undefined) faults.push(`the other collection: ${JSON.stringify(error)}`);
    return shards;
  });
  const others = await reader.count({ collection: "others", consistency: "strong" }).catch(String);
  if (typeof others === "string" || others.count !== 4) faults.push(`others: ${JSON.stringify(others)}`);
  await reader.close();
  return faults;
}

test.each(["pointer", "manifest", "configuration"] as const)(
  "a %s, whatever a field of it says",
  async (what) => {
    const read = (key: string): Loose => {
      const { seal: _, ...rest } = JSON.parse(intact.get(key)!.toString());
      return rest;
    };
    const pointer = read(pointerKey(ref));
    const put = {
      pointer: (value: object) => world.store.put(pointerKey(ref), encodeSealed(value)),
      configuration: (value: object) => world.store.put(collectionKey("docs"), encodeSealed(value)),
      manifest: async (value: object) => {
        const body = encodeSealed(value);
        await world.store.put(pointer.manifest, body);
        const manifestSha256 = createHash("sha256").update(body).digest("hex");
        await world.store.put(pointerKey(ref), encodeSealed({ ...pointer, manifestSha256 }));
      },
    };
    const original = {
      pointer,
      manifest: read(pointer.manifest),
      configuration: read(collectionKey("docs")),
    }[what];
    const cases = fieldsOf(original).flatMap((path) =>
      Object.entries(values).map(([name, value]) => ({ path, name, value })),
    );
    expect(cases.length).toBeGreaterThan(200);
    for (const [i, { path, name, value }] of cases.entries()) {
      if (i % every !== 0) continue;
      await mend();
      await put[what](changed(original, path, value));
      expect({ field: path.join("."), name, faults: await faultsOfReaders() }).toEqual({
        field: path.join("."),
        name,
        faults: [],
      });
    }
  },
);

test("a manifest whose time is a number is corrupt, and says so in one line", async () => {
  await mend();
  const { seal: _, ...pointer } = JSON.parse(intact.get(pointerKey(ref))!.toString());
  const { seal: _seal, ...manifest } = JSON.parse(intact.get(pointer.manifest)!.toString());
  for (const [change, reason] of [
    [{ createdAt: 0 }, /it does not say when it was made$/],
    [{ shard: "\u001b[2J" }, /it belongs to docs\/\\u\{1b\}\[2J, not to docs\/0$/],
  ] as const) {
    const body = encodeSealed({ ...manifest, ...change });
    await world.store.put(pointer.manifest, body);
    const manifestSha256 = createHash("sha256").update(body).digest("hex");
    await world.store.put(pointerKey(ref), encodeSealed({ ...pointer, manifestSha256 }));
    const { faults } = await verify(world, await readCollection(world.store, "docs"), 0);
    expect(faults).toEqual([expect.stringMatching(reason)]);
    const cli = new MemoryCli(world);
    expect((await cli.run(["snapshot", "list", "docs"])).err + (await cli.run(["status"])).err).not.toMatch(
      /internal/,
    );
    await cli.close();
  }
});
