/** pgvector as an import source: a real Postgres (PGlite) behind its socket, what its COPY writes, and a dump. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Client } from "pg";
import { openSource } from "../../lib/import/open-source.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { documentedCommands } from "./documented-commands.ts";
import { describeSource, dims, expectedRows, readAll, rowsOf } from "./source-contract.ts";

const folder = mkdtempSync(join(tmpdir(), "siltstone-pgvector-"));
const world = {
  stdin: (async function* () {})() as AsyncIterable<Buffer>,
  environment: {},
  incomplete: false,
  s3Vectors: () => Promise.reject(new Error("none")),
  lanceDb: () => Promise.reject(new Error("none")),
  bucketFiles: () => Promise.reject(new Error("none")),
};
const open = (location: string) => openSource(world, `pgvector:${location}`);

let server: ChildProcess;
let url: string;
const table =
  "n bigint PRIMARY KEY, id text, text text, vector vector(4), kind text, f double precision, ok boolean";
const typed = "n:bigint,id:text,text:text,vector:vector,kind:text,f:float8,ok:bool";

/** A connection of its own, one at a time: PGlite has no more. */
async function withClient<T>(work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** What `COPY … TO STDOUT` gives. */
const copied = (sql: string) =>
  withClient(async (client) => {
    const chunks: Buffer[] = [];
    const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
    connection.on("copyData", ({ chunk }: { chunk: Buffer }) => chunks.push(Buffer.from(chunk)));
    await client.query(sql);
    return Buffer.concat(chunks);
  });

beforeAll(async () => {
  server = spawn(process.execPath, [join(import.meta.dirname, "pglite-server.mjs")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [said] = (await once(server.stdout!, "data")) as [Buffer];
  url = `postgres://postgres@127.0.0.1:${said.toString().trim().slice(5)}/postgres?sslmode=disable`;
  await withClient(async (client) => {
    await client.query(`CREATE EXTENSION IF NOT EXISTS vector; CREATE TABLE items(${table})`);
    const rows = expectedRows().map(({ id, document, vector, metadata }) => [
      metadata.n,
      id,
      document,
      JSON.stringify(vector),
      metadata.kind,
      metadata.f,
      metadata.ok,
    ]);
    for (let at = 0; at < rows.length; at += 500) {
      await client.query(
        `INSERT INTO items SELECT (r->>0)::bigint, r->>1, r->>2, (r->>3)::vector, r->>4, (r->>5)::float8, (r->>6)::bool
         FROM jsonb_array_elements($1::jsonb) r`,
        [JSON.stringify(rows.slice(at, at + 500))],
      );
    }
    await client.query(`CREATE TABLE odd(
      key uuid PRIMARY KEY, embedding halfvec(4), tags text[], numbers integer[], more jsonb, at timestamptz, local timestamp, day date,
      exact numeric, long numeric, big bigint, raw bytea, nothing text)`);
    await client.query(`INSERT INTO odd VALUES
      ('00000000-0000-0000-0000-000000000001', '[0.5,-2,0.25,1]', '{a,"b, \\"c\\"",NULL}', '{1,2}', '{"a":{"b":[1,"x"]},"t":true}',
       '2026-11-26 23:00:00.123456+02', '2026-11-26 23:00:00', '2026-11-26', 1.50, 0.1234567890123456789, 9007199254740993, '\\x00ff', NULL),
      ('00000000-0000-0000-0000-000000000002', NULL, '{}', NULL, 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`);
    await client.query(
      "CREATE TABLE sparse(id text, vector sparsevec(4)); INSERT INTO sparse VALUES ('s', '{1:0.5,4:-2}/4')",
    );
  });
}, 60_000);
afterAll(async () => {
  server.stdin?.end();
  await once(server, "exit");
  rmSync(folder, { recursive: true, force: true });
});

const fields = { id: "id", document: "text", vector: "vector", metadata: null, version: null };
const shape = { fields };
describeSource({ name: "pgvector, a table", open: () => open(`${url}&table=items`), shape });
describeSource({
  name: "pgvector, COPY as text",
  open: async () => {
    writeFileSync(join(folder, "items.copy"), await copied("COPY items TO STDOUT"));
    return open(`${join(folder, "items.copy")}?columns=${typed}`);
  },
  shape,
});
describeSource({
  name: "pgvector, COPY as binary",
  open: async () => {
    writeFileSync(join(folder, "items.bin"), await copied("COPY items TO STDOUT (FORMAT binary)"));
    return open(`${join(folder, "items.bin")}?columns=${typed}`);
  },
  shape,
});
async function dump(): Promise<string> {
  const columns = table
    .replace(" PRIMARY KEY", " NOT NULL")
    .replace("vector(4)", "public.vector(4)")
    .split(", ")
    .map((column) => `    ${column}`);
  return [
    "--\n-- PostgreSQL database dump\n--\n\nSET statement_timeout = 0;\n",
    "CREATE TABLE public.others (\n    id integer NOT NULL,\n    name character varying(20) DEFAULT 'x'::character varying\n);\n",
    `CREATE TABLE public.items (\n${columns.join(",\n")}\n);\n`,
    "COPY public.others (id, name) FROM stdin;\n1\tone\n\\.\n",
    `COPY public.items (n, id, text, vector, kind, f, ok) FROM stdin;\n${await copied("COPY items TO STDOUT")}\\.\n`,
    "ALTER TABLE ONLY public.items ADD CONSTRAINT items_pkey PRIMARY KEY (n);\n",
  ].join("\n");
}
describeSource({
  name: "pgvector, a dump",
  open: async () => {
    writeFileSync(join(folder, "dump.sql.gz"), gzipSync(await dump()));
    return open(join(folder, "dump.sql.gz"));
  },
  shape,
});

const first = {
  id: "00000000-0000-0000-0000-000000000001",
  vector: new Float32Array([0.5, -2, 0.25, 1]),
  metadata: {
    at: "2026-11-26T21:00:00.123456Z",
    day: "2026-11-26",
    exact: 1.5,
    local: "2026-11-26T23:00:00",
    long: "0.1234567890123456789",
    "more.a.b": '[1,"x"]',
    "more.t": true,
    numbers: "[1,2]",
    raw: "AP8=",
  },
};

test("every type is what it says, wherever it comes from", async () => {
  const copy =
    (name: string, more: string, as = "") =>
    async () => {
      writeFileSync(
        join(folder, name),
        await copied(`COPY (SELECT ${more} FROM odd ORDER BY key) TO STDOUT ${as}`),
      );
    };
  const columns = "key, embedding, numbers, more, at, local, raw";
  const types =
    "key:uuid,embedding:halfvec(4),numbers:int4[],more:jsonb,at:timestamptz,local:timestamp,raw:bytea";
  await copy("odd.copy", columns)();
  await copy("odd.bin", columns, "(FORMAT binary)")();
  for (const [location, left] of [
    [`${url}&table=odd`, {}],
    [`${join(folder, "odd.copy")}?columns=${types}`, { day: undefined, exact: undefined, long: undefined }],
    [`${join(folder, "odd.bin")}?columns=${types}`, { day: undefined, exact: undefined, long: undefined }],
  ] as const) {
    const source = await open(location);
    const names = { ...source.fields, id: "key" };
    const [page] = await readAll(source);
    const [item, second] = page!.items;
    if (!("row" in item!)) throw new Error("no row");
    // Of the odd ones: a list with a NULL, and an integer that no number holds, are for the engine to refuse.
    const { tags, big, ...rest } = item.row.metadata;
    if (location.startsWith("postgres"))
      expect({ tags, big }).toEqual({ tags: ["a", 'b, "c"', null], big: 9007199254740993n });
    const plain = { items: [{ at: "", row: { metadata: rest } }], cursor: {}, progress: null };
    const [row] = await rowsOf(source, [plain], { fields: names, nested: "path" });
    expect({ id: row!.id, vector: row!.vector, metadata: JSON.parse(row!.metadata!) }).toEqual({
      ...first,
      metadata: JSON.parse(JSON.stringify({ ...first.metadata, ...left })),
    });
    expect(second).toMatchObject({ row: { metadata: { key: "00000000-0000-0000-0000-000000000002" } } });
    await source.close();
  }
});

test("a sparse vector becomes one with all its components", async () => {
  const source = await open(`${url}&table=sparse`);
  expect(source.fields).toMatchObject({ vector: "vector", id: "id" });
  const rows = await rowsOf(source, await readAll(source), {}, dims);
  expect(rows).toMatchObject([{ id: "s", vector: new Float32Array([0.5, 0, 0, -2]) }]);
  await source.close();
});

test("what cannot be read is named", async () => {
  await expect(open(url)).rejects.toThrow("say which table");
  await expect(open(`${url}&table=none`)).rejects.toThrow("there is no table none");
  await expect(open("postgres://me:secret@127.0.0.1:1/x?table=t")).rejects.toThrow("PGPASSWORD");
  await expect(open("postgres://me@127.0.0.1:1/x?table=t")).rejects.toMatchObject({ kind: "unavailable" });
  writeFileSync(join(folder, "a.dump"), "PGDMP\x01\x0e");
  await expect(open(join(folder, "a.dump"))).rejects.toThrow("pg_restore");
  writeFileSync(join(folder, "b.sql"), "INSERT INTO x VALUES (1);\n");
  await expect(open(join(folder, "b.sql"))).rejects.toThrow("no plain pg_dump file with COPY");
  writeFileSync(join(folder, "c.copy"), "1\t[1,2\n2\n3\t[1,2,3,4]\n");
  const source = await open(`${join(folder, "c.copy")}?columns=id:text,embedding:vector`);
  expect((await readAll(source))[0]!.items).toMatchObject([
    { at: "line 1", fault: { field: "embedding", reason: "is no vector: [1,2" } },
    { at: "line 2", fault: { field: "line", reason: "has 1 fields instead of 2" } },
    { at: "line 3", row: { metadata: { id: "3" } } },
  ]);
  await source.close();
});

test("the commands of docs/migrating/pgvector.md do what they say", async () => {
  const home = process.cwd();
  const work = mkdtempSync(join(folder, "documented-"));
  process.chdir(work);
  const cli = new MemoryCli();
  try {
    writeFileSync("items.sql", await dump());
    writeFileSync("items.copy", await copied("COPY (SELECT id, vector, text FROM items) TO STDOUT"));
    const [base] = url.split("?");
    for (const documented of documentedCommands("migrating/pgvector.md")) {
      const args = documented.map((arg) =>
        arg.replace("postgres://me@localhost/shop?", `${base}?sslmode=disable&`),
      );
      const said = await cli.run(args);
      expect({ args, ...said }).toMatchObject({ args, code: 0, err: "" });
      if (args.includes("--verify")) expect(said.out).toContain("verified: 1200 rows");
    }
  } finally {
    process.chdir(home);
    await cli.close();
  }
}, 60_000);
