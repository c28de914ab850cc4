/** What could lose a row without a word, or take one twice: each is refused, reported, or right. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import { openSource } from "../../lib/import/open-source.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { writeFvecs } from "../cli/vectors.ts";
import { MemoryBucketFiles } from "../support/memory/bucket-files.ts";
import { type Asked, jsonServer } from "./json-server.ts";
import { expectedRow, expectedRows, readAll } from "./source-contract.ts";

const home = process.cwd();
let folder: string;
let cli: MemoryCli;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-nothing-lost-"));
  process.chdir(folder);
  cli = new MemoryCli();
  await cli.run(["collection", "create", "docs", "--dims", "4"]);
});
afterEach(async () => {
  process.chdir(home);
  await cli.close();
  rmSync(folder, { recursive: true, force: true });
});

const bucketFiles = new MemoryBucketFiles();
const world = {
  stdin: (async function* () {})() as AsyncIterable<Buffer>,
  environment: {},
  incomplete: false,
  s3Vectors: () => Promise.reject(new Error("none")),
  lanceDb: () => Promise.reject(new Error("none")),
  bucketFiles: async () => bucketFiles,
};
const open = (from: string) => openSource(world, from);
const itemsOf = async (from: string) => (await readAll(await open(from))).flatMap(({ items }) => items);
const lines = (of: readonly object[]): string => of.map((one) => JSON.stringify(one)).join("\n");
const keysOf = (part: string) => cli.world.store.keys().filter((key) => key.includes(part));

describe("standard input", () => {
  const rows = lines(expectedRows(10));

  test.each([
    [["--from", "records:-", "--verify"], "--verify reads the source again"],
    [["--from", "records:-", "--plan"], "--plan reads what the import would read"],
    [["--from", "pgvector:-?columns=id:text,vector:vector", "--verify"], "--verify reads the source again"],
    [["--from", "pgvector:-"], "a dump is read for its columns first"],
  ])("what reads it a second time is refused before anything is written: %j", async (args, said) => {
    const answer = await cli.run(["import", "docs", ...args], { stdin: rows });
    expect(answer).toMatchObject({ code: 2, err: expect.stringContaining(said) });
    expect(answer.err).toContain("write it to a file first");
    expect(keysOf("/deltas/")).toEqual([]);
  });

  test("another stream is never taken for the rest of one that was killed", async () => {
    await cli.run(["collection", "create", "small", "--dims", "4"]);
    const dying = failingAt(4);
    const args = ["import", "small", "--from", "records:-", "--json"];
    expect((await cli.run(args, { stdin: lines(expectedRows(9_000)) })).code).toBe(5);
    dying.mockRestore();
    expect((await cli.run(args, { stdin: rows })).json()).toMatchObject({ resumedAt: 0, written: 10 });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("binary COPY is known by its first bytes there too", async () => {
    const head = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
    const field = (bytes: Buffer) => {
      const length = Buffer.alloc(4);
      length.writeInt32BE(bytes.length);
      return Buffer.concat([length, bytes]);
    };
    const vector = Buffer.alloc(4 + 16);
    vector.writeUInt16BE(4, 0);
    for (let i = 0; i < 4; i++) vector.writeFloatBE(i + 1, 4 + i * 4);
    const row = Buffer.concat([Buffer.from([0, 2]), field(Buffer.from("a")), field(vector)]);
    const said = await cli.run(
      ["import", "docs", "--from", "pgvector:-?columns=id:text,vector:vector", "--json"],
      { stdin: Buffer.concat([head, row, Buffer.from([0xff, 0xff])]) },
    );
    expect(said.json()).toMatchObject({ written: 1, rejected: 0 });
  });
});

/** The n-th delta is not written. */
function failingAt(n: number) {
  const { store } = cli.world;
  const put = store.put.bind(store);
  let deltas = 0;
  return jest.spyOn(store, "put").mockImplementation(async (key, ...rest) => {
    if (key.includes("/deltas/") && ++deltas === n) throw new SiltstoneError("unavailable", "killed");
    return put(key, ...rest);
  });
}

test("an import that goes on knows the ids before its resume point, and waits for the deltas before it", async () => {
  await cli.run(["collection", "create", "small", "--dims", "4"]);
  const rows = expectedRows(9_000).map((row, n) => (n >= 8_000 ? expectedRow(n - 8_000) : row));
  const csv = rows.map(({ id, vector }, n) => `${id},"${JSON.stringify(vector)}",${n}`).join("\n");
  writeFileSync("a.csv", `id,vector,n\n${csv}`);
  const args = ["import", "small", "--from", "csv:a.csv", "--json"];
  const dying = failingAt(4);
  expect((await cli.run(args)).code).toBe(5);
  dying.mockRestore();
  const resumed = (await cli.run([...args, "--verify"])).json<{ resumedAt: number; deltas: number }>();
  expect(resumed).toMatchObject({
    lines: 9_000,
    written: 8_000,
    rejected: 1_000,
    verified: { differing: 0 },
  });
  expect(resumed.resumedAt).toBeGreaterThan(0);
  expect(resumed.deltas).toBe(keysOf("small/0/deltas/").length);
  expect(readdirSync(folder).sort()).toEqual(["a.csv", "a.csv.rejects.jsonl"]);
});

test("a resume point without its ids is not used", async () => {
  await cli.run(["collection", "create", "small", "--dims", "4"]);
  writeFileSync("a.jsonl", lines(expectedRows(9_000)));
  const args = ["import", "small", "--from", "records:a.jsonl", "--json"];
  const dying = failingAt(4);
  expect((await cli.run(args)).code).toBe(5);
  dying.mockRestore();
  rmSync("a.jsonl.import.json.ids");
  expect((await cli.run(args)).json()).toMatchObject({ resumedAt: 0, written: 9_000 });
});

test("a source that changed between the import and its verification is no proof", async () => {
  writeFileSync("a.jsonl", lines(expectedRows(10)));
  const { store } = cli.world;
  const put = store.put.bind(store);
  jest.spyOn(store, "put").mockImplementation(async (...args) => {
    writeFileSync("a.jsonl", lines(expectedRows(7)));
    return put(...args);
  });
  const said = await cli.run(["import", "docs", "--from", "records:a.jsonl", "--verify"]);
  jest.restoreAllMocks();
  expect(said).toMatchObject({ code: 1, out: expect.stringContaining("the second reading found 7 lines") });
});

test("an id map that makes of one id another row's, and two fields that become one, lose nothing unseen", async () => {
  writeFileSync("ids.json", JSON.stringify({ "notes/1": "notes/2" }));
  writeFileSync("a.jsonl", lines(expectedRows(4)));
  const args = ["import", "docs", "--from", "records:a.jsonl", "--json"];
  const mapped = await cli.run([...args, "--id-map", "ids.json"]);
  expect(mapped.json()).toMatchObject({ written: 3, rejected: 1, repeated: 0 });
  expect(readFileSync("a.jsonl.rejects.jsonl", "utf8")).toContain("is what --id-map makes of another id");
  const renamed = await cli.run([...args, "--map", "kind=n"]);
  expect(renamed.json()).toMatchObject({ written: 0, rejected: 4 });
  expect(readFileSync("a.jsonl.rejects.jsonl", "utf8")).toContain("comes from two fields with other values");
});

test("a plan looks at the vectors beside the records", async () => {
  const rows = expectedRows(20);
  writeFileSync("a.jsonl", lines(rows.map(({ id, document }) => ({ id, text: document }))));
  writeFvecs(
    "a.fvecs",
    rows.map(({ vector }) => vector),
  );
  const args = ["import", "none", "--records", "a.jsonl", "--vectors", "a.fvecs", "--plan", "--json"];
  expect((await cli.run(args)).json()).toMatchObject({ dims: 4, rejected: 0, rows: 20 });
});

describe("CSV", () => {
  const write = (text: string) => writeFileSync("a.csv", text);

  test("a quote within a field is a letter; it opens a field at its beginning only", async () => {
    write('id,size,vector\na,5" disk,"[1,2,3,4]"\nb,"6"" disk\nof two lines","[1,2,3,4]"\nc,7",x\n');
    expect(await itemsOf("csv:a.csv")).toMatchObject([
      { at: "line 2", row: { metadata: { id: "a", size: '5" disk' } } },
      { at: "line 3", row: { metadata: { id: "b", size: '6" disk\nof two lines' } } },
      { at: "line 5", row: { metadata: { id: "c", size: '7"' } } },
    ]);
    write('id\tsize\tvector\na\t5"\t[1]\nb\t"6"\t[1]');
    expect(await itemsOf("csv:a.csv")).toMatchObject([
      { row: { metadata: { size: '5"' } } },
      { row: { metadata: { size: "6" } } },
    ]);
  });

  test("a quote that is never closed, and a field that is there twice, are errors", async () => {
    write('id,vector\na,"[1,2]\nb,[1]\n');
    await expect(itemsOf("csv:a.csv")).rejects.toThrow("a quote in line 2 is not closed");
    write("id,n,n\na,1,2\n");
    await expect(itemsOf("csv:a.csv")).rejects.toThrow('has the field "n" twice');
  });

  test("a field called __proto__ is refused, not lost", async () => {
    write('id,vector,__proto__\na,"[1,2,3,4]",x\n');
    expect((await cli.run(["import", "docs", "--from", "csv:a.csv"])).out).toContain(
      "__proto__ is not allowed",
    );
  });
});

test("a page is bounded by what it holds as well", async () => {
  const text = "x".repeat(4 * 1024 * 1024);
  writeFileSync("a.jsonl", lines([1, 2, 3, 4, 5, 6].map((id) => ({ id: String(id), text }))));
  expect((await readAll(await open("jsonl:a.jsonl"))).map(({ items }) => items.length)).toEqual([4, 2]);
});

describe("a bucket", () => {
  beforeEach(() => bucketFiles.objects.clear());
  const put = (key: string, text = "{}") => bucketFiles.objects.set(`theirs/${key}`, Buffer.from(text));

  test("is listed no further than to the file that is named", async () => {
    for (let i = 0; i < 50; i++) put(`a.jsonl${i}`);
    put("a.jsonl");
    bucketFiles.listed = 0;
    expect(await itemsOf("jsonl:s3://theirs/a.jsonl")).toHaveLength(1);
    expect(bucketFiles.listed).toBe(1);
  });

  test("with more files than an import takes is refused", async () => {
    for (let i = 0; i < 10_001; i++) put(`in/${i}.jsonl`);
    await expect(open("jsonl:s3://theirs/in/")).rejects.toThrow("more than 10000 files");
  });

  test("whose object is overwritten meanwhile is a conflict", async () => {
    put("a.jsonl", '{"id":"1"}');
    const source = await open("jsonl:s3://theirs/a.jsonl");
    put("a.jsonl", '{"id":"2"}');
    await expect(readAll(source)).rejects.toMatchObject({ kind: "conflict" });
  });
});

describe("an export", () => {
  beforeEach(async () => {
    writeFileSync("a.jsonl", lines(expectedRows(10)));
    await cli.run(["import", "docs", "--from", "records:a.jsonl"]);
    await cli.run(["compact", "docs"]);
  });

  test("goes into a folder of S3, and into one that is not there yet", async () => {
    for (const to of ["s3://theirs/out/", "new/folder/"]) {
      expect(await cli.run(["export", "docs", "--to", to, "--format", "parquet"])).toMatchObject({ code: 0 });
    }
    expect([...cli.bucketFiles.objects.keys()]).toEqual(["theirs/out/docs-0.parquet"]);
    expect(readdirSync("new/folder")).toEqual(["docs-0.parquet"]);
    expect(existsSync("s3:")).toBe(false);
  });

  test.each(["x.fvecs.d/out.bin", "out.bin", "out.fvecs.gz"])(
    "of fvecs has its records beside it, whatever it is called: %s",
    async (to) => {
      await cli.run(["export", "docs", "--to", "x.fvecs.d/", "--format", "jsonl"]);
      const said = await cli.run(["export", "docs", "--to", to, "--format", "fvecs", "--json"]);
      const { files } = said.json<{ files: { name: string; bytes: number }[] }>();
      const beside = to.endsWith(".gz") ? "out.jsonl.gz" : `${to}.jsonl`;
      expect(files.map(({ name }) => name)).toEqual([to, beside]);
      expect(files[0]!.bytes).toBe(10 * 20);
    },
  );

  test("that cannot be written says so", async () => {
    const said = await cli.run(["export", "docs", "--to", "no/such/x.jsonl"]);
    expect(said).toMatchObject({
      code: 2,
      err: expect.stringContaining("no/such/x.jsonl cannot be written"),
    });
  });
});

describe("servers", () => {
  test("Qdrant's integers beyond 2^53 are ids and places as they are", async () => {
    const ids = ["9007199254740993", "18446744073709551615"];
    const raw = (text: string) => (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(text);
    const server = await jsonServer(({ method, body, text }: Asked) => {
      if (method === "GET")
        return {
          body: {
            result: { points_count: 2, config: { params: { vectors: { size: 1, distance: "Dot" } } } },
          },
        };
      const at = body.offset === undefined ? 0 : 1;
      if (at === 1) expect(text).toContain(`"offset":${ids[1]}`);
      const points = [{ id: raw(ids[at]!), vector: [at + 1], payload: null }];
      return { body: { result: { points, next_page_offset: at === 0 ? raw(ids[1]!) : null } } };
    });
    try {
      const from = `qdrant:${server.url}/collections/notes`;
      expect((await itemsOf(from)).map((item) => ("row" in item ? String(item.row.id) : ""))).toEqual(ids);
      const [first] = await readAll(await open(from));
      const rest = await readAll(await open(from), JSON.parse(JSON.stringify(first!.cursor)));
      expect(rest).toHaveLength(1);
    } finally {
      server.close();
    }
  });

  test("a namespace that comes between two readings of Pinecone moves none of the others", async () => {
    const spaces = new Map([
      ["b", ["b1"]],
      ["d", ["d1", "d2"]],
    ]);
    const server = await jsonServer(({ url }: Asked) => {
      if (url.pathname === "/describe_index_stats")
        return {
          body: {
            totalVectorCount: 3,
            namespaces: Object.fromEntries([...spaces.keys()].map((name) => [name, {}])),
          },
        };
      const ids = spaces.get(url.searchParams.get("namespace")!)!;
      if (url.pathname === "/vectors/list") return { body: { vectors: ids.map((id) => ({ id })) } };
      // One that is listed is not given.
      const given = url.searchParams.getAll("ids").filter((id) => id !== "d2");
      return { body: { vectors: Object.fromEntries(given.map((id) => [id, { id, values: [1] }])) } };
    });
    const from = `pinecone:${server.url}`;
    try {
      const [first] = await readAll(await open(from));
      spaces.set("a", ["a1"]);
      const rest = await readAll(await open(from), first!.cursor);
      expect(rest.flatMap(({ items }) => items)).toMatchObject([
        { row: { id: "d1", namespace: "d" } },
        { at: 'vector "d2"', fault: { id: "d2", reason: expect.stringContaining("was not given") } },
      ]);
    } finally {
      server.close();
    }
  });

  test("long ids are fetched in parts that a URL holds", async () => {
    const ids = Array.from({ length: 90 }, (_, n) => `${"é".repeat(150)}${n}`);
    const server = await jsonServer(({ url }: Asked) => {
      if (url.pathname === "/describe_index_stats")
        return { body: { totalVectorCount: 90, namespaces: { "": {} } } };
      if (url.pathname === "/vectors/list") return { body: { vectors: ids.map((id) => ({ id })) } };
      expect(url.search.length).toBeLessThan(8_000);
      const given = url.searchParams.getAll("ids");
      return { body: { vectors: Object.fromEntries(given.map((id) => [id, { id, values: [1] }])) } };
    });
    try {
      const items = await itemsOf(`pinecone:${server.url}`);
      expect(items.filter((item) => "row" in item)).toHaveLength(90);
    } finally {
      server.close();
    }
  });

  test("a Chroma server that gives another number of rows than it says is no whole source", async () => {
    const server = await jsonServer(({ url, body }: Asked) => {
      if (url.pathname.endsWith("/count")) return { body: 3 };
      if (!url.pathname.endsWith("/get")) return { body: { id: "c", dimension: 1 } };
      return { body: body.offset === 0 ? { ids: ["1", "2"], embeddings: [[1], [2]] } : { ids: [] } };
    });
    try {
      await expect(itemsOf(`chroma:${server.url}#notes`)).rejects.toMatchObject({
        kind: "conflict",
        message: expect.stringContaining("said 3 rows and gave 2"),
      });
    } finally {
      server.close();
    }
  });
});

test("a dump that was cut is no whole source", async () => {
  const head = "CREATE TABLE public.items (\n    id text,\n    embedding public.vector(2)\n);\n";
  const copy = "COPY public.items (id, embedding) FROM stdin;\na\t[1,2]\n";
  writeFileSync("a.sql", head + copy);
  await expect(itemsOf("pgvector:a.sql")).rejects.toThrow("ends within the rows of public.items");
  writeFileSync("a.sql", `${head + copy}\\.\n`);
  expect(await itemsOf("pgvector:a.sql")).toHaveLength(1);
});
