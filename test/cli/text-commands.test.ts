import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryCli } from "./memory-deployment.ts";

let cli: MemoryCli;
let folder: string;
beforeEach(() => {
  cli = new MemoryCli();
  folder = mkdtempSync(join(tmpdir(), "siltstone-text-"));
});
afterEach(async () => {
  await cli.close();
  rmSync(folder, { recursive: true });
});

const text = "# One\nFirst. Second.\n\n# Two\nThird is here.\n";

test("silt chunk shows the chunks of a file and of standard input, and writes nothing", async () => {
  const file = join(folder, "notes.md");
  writeFileSync(file, text);
  const shown = await cli.run(["chunk", "--text", file, "--bytes", "24"]);
  expect(shown).toMatchObject({ code: 0, out: expect.stringContaining("2 chunks of at most 24 bytes") });
  expect(shown.out).toContain("# Two Third is here.");
  const piped = await cli.run(["chunk", "--bytes", "24", "--json"], { stdin: text });
  expect(piped.json()).toEqual({
    bytesMax: 24,
    overlap: 0,
    chunks: [
      { index: 0, start: 0, limit: 22, bytes: 22, text: "# One\nFirst. Second.\n\n" },
      { index: 1, start: 22, limit: 43, bytes: 21, text: "# Two\nThird is here.\n" },
    ],
  });
});

test("silt chunk keeps within a collection's embedder, and refuses what it cannot use", async () => {
  await cli.run([
    "collection",
    "create",
    "notes",
    "--dims",
    "64",
    "--embedder",
    "openai/small",
    "--input-tokens",
    "40",
    "--document-prefix",
    "text: ",
  ]);
  const made = await cli.run(["collection", "describe", "notes"]);
  expect(made.out).toContain("openai/small@64 (embedder openai/small, texts of at most 40 tokens)");
  expect((await cli.run(["chunk", "--collection", "notes", "--json"], { stdin: text })).json()).toMatchObject(
    { bytesMax: 34 },
  );
  await cli.run(["collection", "create", "given", "--dims", "4"]);
  const refused = (args: string[], message: string) =>
    cli
      .run(args, { stdin: text })
      .then((said) => expect(said).toMatchObject({ code: 2, err: expect.stringContaining(message) }));
  await refused(["chunk", "--collection", "given"], "give --bytes");
  await refused(["chunk", "--collection", "notes", "--bytes", "100"], "not both");
  await refused(["chunk", "--bytes", "100", "--overlap", "60"], "at most half of it is overlap");
  await refused(
    ["collection", "create", "x", "--dims", "4", "--embedder", "acme/m"],
    "lexical, or PROVIDER/MODEL",
  );
  await refused(
    ["collection", "create", "x", "--dims", "4", "--input-tokens", "99"],
    "are of --embedder PROVIDER/MODEL",
  );
});

test("a text without a vector is refused where no provider is configured", async () => {
  await cli.run(["collection", "create", "notes", "--dims", "64", "--embedder", "openai/small"]);
  const said = await cli.run(["put", "notes"], { stdin: '{"id":"a","document":"hello"}' });
  expect(said).toMatchObject({
    code: 2,
    err: expect.stringContaining("embeds by openai/small, which is not configured here"),
  });
});
