/** Bundles are made again when something is other than noted, of what they were made of or of what was made; and only then. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freshBundles, isFresh } from "../../scripts/build/fresh-bundles.ts";

const root = join(__dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "fresh-bundles-"));
afterAll(() => rmSync(folder, { recursive: true }));

const digestOf = (text: string | Buffer) => createHash("sha256").update(text).digest("hex");
const right = { "package.json": digestOf(readFileSync(join(root, "package.json"))) };

test.each([
  ["all as noted", right, true],
  ["a file that is other", { ...right, "tsconfig.json": "0".repeat(64) }, false],
  ["a file that is gone", { ...right, "lib/gone.ts": "0".repeat(64) }, false],
])("%s", (_, noted, fresh) => {
  const note = join(folder, "note.json");
  writeFileSync(note, JSON.stringify(noted));
  expect(isFresh(note)).toBe(fresh);
});

test("without a note nothing is fresh", () => {
  expect(isFresh(join(folder, "no-note.json"))).toBe(false);
});

test("the note names sources, packages and bundles; while it is right nothing is bundled", async () => {
  // No other test starts this architecture's.
  const note = `${await freshBundles("arm64")}.digests.json`;
  const handler = "build/lambdas/arm64/producer/handler.js";
  const noted = JSON.parse(readFileSync(note, "utf8"));
  expect(Object.keys(noted)).toEqual(
    expect.arrayContaining([handler, "lambdas/producer/handler.ts", "package-lock.json"]),
  );
  const made = readFileSync(join(root, handler));
  try {
    writeFileSync(join(root, handler), "// marked");
    writeFileSync(note, JSON.stringify({ ...noted, [handler]: digestOf("// marked") }));
    await freshBundles("arm64");
    expect(readFileSync(join(root, handler), "utf8")).toBe("// marked");
  } finally {
    writeFileSync(join(root, handler), made);
    writeFileSync(note, JSON.stringify(noted));
  }
}, 60_000);
