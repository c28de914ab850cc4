/**
 * ChromaDB as an import source: directories that real servers made (upserts, adds, updates, deletes, restarts), of which
 * `expected` is what the server itself answered; the same as its Python versions leave it; and damaged ones.
 */
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Metric } from "../../lib/core/model/collection.ts";
import { openSource } from "../../lib/import/open-source.ts";
import { readPickle } from "../../lib/import/sources/pickle.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { chromaDirectory } from "./chroma-directory.ts";
import { documentedCommands } from "./documented-commands.ts";
import { describeSource, type ExpectedRow, readAll, rowsOf } from "./source-contract.ts";

const folder = mkdtempSync(join(tmpdir(), "siltstone-chroma-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const world = {
  stdin: (async function* () {})() as AsyncIterable<Buffer>,
  environment: { CHROMA_API_KEY: "from the environment" },
  incomplete: false,
  s3Vectors: () => Promise.reject(new Error("none")),
  lanceDb: () => Promise.reject(new Error("none")),
  bucketFiles: () => Promise.reject(new Error("none")),
};
const open = (location: string, more = {}) => openSource({ ...world, ...more }, `chroma:${location}`);

interface Fixture {
  readonly path: string;
  readonly expected: ExpectedRow[];
}
/** Unpacks a directory that a server made. */
function fixture(name: string, to = name): Fixture {
  const path = join(folder, to);
  return { path, expected: chromaDirectory(name, path).map(plain) };
}
const plain = (
  row: { metadata: ExpectedRow["metadata"] | null } & Omit<ExpectedRow, "metadata">,
): ExpectedRow => ({
  id: row.id,
  document: row.document,
  vector: Array.from(Float32Array.from(row.vector)),
  metadata: row.metadata ?? {},
});

for (const [name, metric] of [
  ["1.0.5-cosine", "cosine"],
  ["1.0.5-l2", "l2"],
  ["1.0.5-ip", "ip"],
  ["1.0.0-cosine", "cosine"],
  ["1.3.4-cosine", "cosine"],
  ["1.3.4-l2", "l2"],
  ["1.3.4-ip", "ip"],
  ["0.5.23-cosine", "cosine"],
  ["0.5.23-l2", "l2"],
  ["0.5.23-ip", "ip"],
  ["0.6.3-cosine", "cosine"],
  ["0.6.3-l2", "l2"],
  ["0.6.3-ip", "ip"],
] as [string, Metric][]) {
  const { path, expected } = fixture(name);
  describeSource({
    name: `chroma ${name}`,
    // What a deleted id left behind in the index is no record.
    open: () => open(`${path}#notes`, { incomplete: name.startsWith("0.") }),
    rows: expected,
    metric,
    // Of what is still in its queue, the server answers what its index makes of it, and not what was written.
    rounding: metric === "cosine" ? 5e-7 : 0,
  });
}

test.each(["0.5.23-cosine", "0.6.3-l2"])(
  "a vector that Chroma %s left behind when it deleted its id stops the import, which then gives what Chroma gives",
  async (name) => {
    const { path, expected } = fixture(name, `left-behind-${name}`);
    const source = await open(`${path}#notes`);
    await expect(readAll(source)).rejects.toThrow(
      `of ${expected.length} ids 0 have no vector in the directory, and 1 vectors have no id: ${expected.length} records can be saved`,
    );
    expect((await source.describe()).notes[0]).toContain("deleted and updated at once");
    await source.close();
  },
);

const imports = join(import.meta.dirname, "../../../shared/data/imports");
const purged = join(imports, "chroma-purged");
if (existsSync(purged)) {
  const lines = readFileSync(join(purged, "expected.jsonl"), "utf8").trim().split("\n");
  const rows = lines.map((line) => plain(JSON.parse(line) as ExpectedRow));
  describeSource({
    name: "chroma, a purged queue",
    open: () => open(purged),
    rows,
    metric: "cosine",
    rounding: 1e-6,
  });

  test("a directory whose vectors are all in its queue", async () => {
    const source = await open(join(imports, "chroma-aristotle"));
    const rows = await rowsOf(source, await readAll(source), {}, 384);
    const wanted = readFileSync(join(imports, "chroma-aristotle/expected.jsonl"), "utf8").trim().split("\n");
    const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
    const found = rows.map(({ id, vector, metadata, document }) => ({
      id,
      head: Array.from(vector!.slice(0, 4)),
      metadata: JSON.parse(metadata!),
      chars: document!.length,
    }));
    const right = wanted.map((line) => {
      const { id, vector_head: head, metadata, document_chars: chars } = JSON.parse(line);
      return { id, head: (head as number[]).map((one) => expect.closeTo(one, 6)), metadata, chars };
    });
    expect(found.sort(byId)).toEqual(right.sort(byId));
    await source.close();
  });
} else {
  test.skip("skipped: the directories of Chroma are not beside this checkout", () => {});
}

test("several collections have to be told apart", async () => {
  const { path } = fixture("1.0.5-l2", "several");
  await expect(open(path)).rejects.toThrow('choose one by chroma:DIR#NAME, or by its id: "notes", "other"');
  await expect(open(`${path}#none`)).rejects.toThrow('has no collection "none"');
  await expect(open(folder)).rejects.toThrow("it has no chroma.sqlite3");
  const other = await open(`${path}#other`);
  expect(await rowsOf(other, await readAll(other), {}, 2)).toMatchObject([{ id: "x", document: "other" }]);
  await other.close();
});

describe("a directory that is not whole", () => {
  const segmentOf = (path: string) =>
    join(path, readdirSync(path).find((name) => existsSync(join(path, name, "index_metadata.pickle")))!);

  test("without its folder it says how many are missing, and gives what is whole when told so", async () => {
    const { path, expected } = fixture("1.0.5-cosine", "no-folder");
    rmSync(segmentOf(path), { recursive: true });
    const source = await open(`${path}#notes`);
    const { notes } = await source.describe();
    expect(notes[0]).toMatch(
      /^of 639 ids \d+ have no vector in the directory, and 0 vectors have no id: \d+ records can be saved/,
    );
    const [missing, saved] = [/ids (\d+)/, /(\d+) records/].map((pattern) =>
      Number(pattern.exec(notes[0]!)![1]),
    ) as [number, number];
    expect(missing + saved).toBe(639);
    await expect(readAll(source)).rejects.toThrow("import what is whole with --incomplete");
    await source.close();

    const whole = await open(`${path}#notes`, { incomplete: true });
    const items = (await readAll(whole)).flatMap((page) => page.items);
    expect(items.filter((item) => "fault" in item)).toHaveLength(missing);
    const ids = items.flatMap((item) => ("row" in item ? [item.row.id] : []));
    expect(ids).toHaveLength(saved);
    expect(expected.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
    await whole.close();
  });

  test("vectors of another size are refused before anything is read; another metric is remarked upon", async () => {
    const { path } = fixture("1.0.5-l2", "other-size");
    const home = process.cwd();
    process.chdir(path);
    const cli = new MemoryCli();
    try {
      await cli.run(["collection", "create", "wide", "--dims", "8"]);
      const said = await cli.run(["import", "wide", "--from", "chroma:.#notes"]);
      expect(said).toMatchObject({
        code: 2,
        err: expect.stringContaining("vectors of 4 dimensions, collection wide of 8"),
      });
      await cli.run(["collection", "create", "cosine", "--dims", "4"]);
      const remarked = await cli.run(["import", "cosine", "--from", "chroma:.#notes"]);
      expect(remarked).toMatchObject({
        code: 0,
        err: expect.stringContaining("compares by l2, collection cosine by cosine"),
      });
    } finally {
      process.chdir(home);
      await cli.close();
    }
  });

  test("lengths count in cosine space alone: elsewhere they are what memory held", async () => {
    const { path, expected } = fixture("1.0.5-l2", "lengths");
    writeFileSync(join(segmentOf(path), "length.bin"), Buffer.alloc(1 << 16, 0x42));
    const source = await open(`${path}#notes`);
    const rows = await rowsOf(source, await readAll(source));
    expect(rows.map(({ vector }) => Array.from(vector!))).toEqual(expected.map(({ vector }) => vector));
    await source.close();
  });

  test("vectors without an id are counted as well", async () => {
    const { path } = fixture("1.0.5-l2", "no-ids");
    const db = new DatabaseSync(join(path, "chroma.sqlite3"));
    db.exec("PRAGMA foreign_keys = OFF; DELETE FROM embeddings WHERE embedding_id = 'n/17'");
    db.close();
    const source = await open(`${path}#notes`);
    expect((await source.describe()).notes[0]).toContain(
      "0 have no vector in the directory, and 1 vectors have no id",
    );
    await source.close();
  });

  test.each([
    ["header.bin", (bytes: Buffer) => bytes.subarray(0, 20), "it is no index of Chroma"],
    ["header.bin", (bytes: Buffer) => bytes.fill(0xff, 28, 36), "a layout that is not known"],
    ["data_level0.bin", (bytes: Buffer) => bytes.subarray(0, 100), "ends before element"],
    [
      "index_metadata.pickle",
      (bytes: Buffer) => bytes.subarray(0, 100),
      "is not a pickle of plain data: it ends too early",
    ],
  ])("a damaged %s", async (file, damage, said) => {
    const { path } = fixture("1.0.5-l2", `damaged-${Math.random()}`);
    const target = join(segmentOf(path), file);
    writeFileSync(target, damage(readFileSync(target)));
    const reading = async () => {
      const source = await open(`${path}#notes`);
      try {
        await readAll(source);
      } finally {
        await source.close();
      }
    };
    await expect(reading()).rejects.toMatchObject({
      kind: "invalid",
      message: expect.stringContaining(said),
    });
  });

  test("an index whose labels are in another order than its elements is read all the same", async () => {
    const { path, expected } = fixture("1.0.5-l2", "shuffled");
    const data = join(segmentOf(path), "data_level0.bin");
    const bytes = readFileSync(data);
    const header = readFileSync(join(segmentOf(path), "header.bin"));
    const size = Number(header.readBigUInt64LE(28));
    const [first, third] = [0, 2].map((at) => Buffer.from(bytes.subarray(at * size, (at + 1) * size))) as [
      Buffer,
      Buffer,
    ];
    third.copy(bytes, 0);
    first.copy(bytes, 2 * size);
    writeFileSync(data, bytes);
    const source = await open(`${path}#notes`);
    const rows = await rowsOf(source, await readAll(source));
    expect(rows.map(({ vector }) => Array.from(vector!))).toEqual(expected.map(({ vector }) => vector));
    await source.close();
  });
});

test.each([
  ["cos\nsystem\n(S'echo'\ntR.", "it names os.system"],
  ["\x80\x04\x8c\x02os\x8c\x06system\x93.", "it names os.system"],
  ["\x80\x02c__builtin__\neval\n.", "it names __builtin__.eval"],
  ["\x80\x02K\x01K\x02R.", "operation 0x52"],
  ["\x80\x02(.", "a mark or a class is used as a value"],
  ["\x80\x02K", "it ends too early"],
  ["\x80\x02h\x05.", "nothing was kept as 5"],
])("a pickle that is more than plain data is refused: %j", (text, said) => {
  expect(() => readPickle("x", Buffer.from(text, "latin1"))).toThrow(said);
});

test("a pickle of every kind of plain data", () => {
  // As pickle.dumps({"a": [1, -2, 2**40, 1.5, True, None, "é"], "b": ()}, 4) writes it, without frame and memo.
  const made = Buffer.concat([
    Buffer.from([0x80, 4, 0x7d, 0x28, 0x8c, 1, 0x61, 0x5d, 0x28, 0x4b, 1, 0x4a, 0xfe, 0xff, 0xff, 0xff]),
    Buffer.from([0x8a, 6, 0, 0, 0, 0, 0, 1, 0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0x88, 0x4e]),
    Buffer.from([0x8c, 2, 0xc3, 0xa9, 0x65, 0x8c, 1, 0x62, 0x29, 0x75, 0x2e]),
  ]);
  expect(readPickle("x", made)).toEqual(
    new Map<string, unknown>([
      ["a", [1, -2, 2 ** 40, 1.5, true, null, "é"]],
      ["b", []],
    ]),
  );
});

describe("a running server", () => {
  const rows = fixture("1.0.5-cosine", "served").expected;
  let server: Server;
  let url: string;
  const asked: { path: string; key: unknown }[] = [];

  beforeAll(async () => {
    const path = "/api/v2/tenants/default_tenant/databases/default_database/collections";
    server = createServer((request, response) => {
      asked.push({ path: request.url!, key: request.headers["x-chroma-token"] });
      const answer = (value: unknown) => void response.end(JSON.stringify(value));
      const configuration_json = { hnsw: { space: "cosine" }, embedding_function: null };
      if (request.url === `${path}/notes`)
        return answer({ id: "c1", name: "notes", dimension: 4, metadata: null, configuration_json });
      if (request.url === `${path}/c1/count`) return answer(rows.length);
      if (request.url !== `${path}/c1/get`) return void response.writeHead(404).end("{}");
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const { limit, offset } = JSON.parse(Buffer.concat(chunks).toString()) as {
          limit: number;
          offset: number;
        };
        const page = rows.slice(offset, offset + limit);
        const metadatas = page.map(({ metadata }) => (Object.keys(metadata).length === 0 ? null : metadata));
        return answer({
          ids: page.map(({ id }) => id),
          embeddings: page.map(({ vector }) => vector),
          documents: page.map(({ document }) => document),
          metadatas,
        });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());

  describeSource({ name: "chroma over HTTP", open: () => open(`${url}#notes`), rows, metric: "cosine" });

  test("its key comes from the environment, and from nowhere else", async () => {
    const source = await open(`${url}#notes`);
    await source.describe();
    expect(asked.at(-1)).toMatchObject({ key: "from the environment" });
    await expect(open("http://user:secret@127.0.0.1:1#notes")).rejects.toThrow("CHROMA_API_KEY");
    await expect(open("http://127.0.0.1:1?api_key=x#notes")).rejects.toThrow("CHROMA_API_KEY");
    await expect(open(url)).rejects.toThrow("say which collection");
    const none = await open(`${url}#none`);
    await expect(none.describe()).rejects.toMatchObject({ kind: "notFound" });
  });

  test("the commands of docs/migrating/chroma.md do what they say", async () => {
    const home = process.cwd();
    const work = mkdtempSync(join(folder, "documented-"));
    process.chdir(work);
    const cli = new MemoryCli();
    try {
      cpSync(fixture("1.0.5-cosine", "documented").path, join(work, "chroma"), { recursive: true });
      for (const documented of documentedCommands("migrating/chroma.md")) {
        const args = documented.map((arg) => arg.replace("http://localhost:8000", url));
        const said = await cli.run(args);
        expect({ args, ...said }).toMatchObject({ args, code: 0, err: "" });
        if (args[0] === "compact") expect(said.out).toContain("took over 639 of 639 rows");
        if (args.includes("--verify")) expect(said.out).toContain("verified: 639 rows");
      }
    } finally {
      process.chdir(home);
      await cli.close();
    }
  });
});
