/**
 * What the bundler makes of handlers that use what the real ones use: the addon, Arrow, the AWS SDK, Powertools.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { functionNames } from "../../lib/contract/functions.ts";
import { largeBytes, SegmentThread } from "../../lib/segment/segment-thread.ts";
import { bundleLambdas } from "../../scripts/build/bundle.ts";
import { inspectAddon } from "../../scripts/native/elf.ts";

const root = join(__dirname, "../..");
// Below the project, so that imports resolve as they do for the real handlers.
const scratch = join(root, "build/test-bundle");

const withAddon = `
import hnswlib from "#hnswlib";
import { vectorFromArray } from "apache-arrow";
import { Logger } from "@aws-lambda-powertools/logger";
import { S3Client } from "@aws-sdk/client-s3";
const logger = new Logger();
export const handler = async (event: number[]) => {
  if (event.length === 0) logger.info("empty", { region: await new S3Client({}).config.region() });
  return [new hnswlib.L2Space(2).distance([0, 0], event), vectorFromArray(event).length];
};`;
const withoutAddon = `export const handler = async (): Promise<string> => "plain";`;

let folder: string;
beforeEach(() => {
  mkdirSync(scratch, { recursive: true });
  folder = mkdtempSync(join(scratch, "run-"));
  for (const name of functionNames) {
    mkdirSync(join(folder, "handlers", name), { recursive: true });
    const source = name === "producer" ? withoutAddon : withAddon;
    writeFileSync(join(folder, "handlers", name, "handler.ts"), source);
  }
  const script = join(root, "lib/segment/segment-thread-main.ts");
  writeFileSync(join(folder, "handlers/query/segment-thread.ts"), `import ${JSON.stringify(script)};`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bundleInto = (out: string, architecture: "x64" | "arm64" | "host") =>
  bundleLambdas({ architecture, outDir: join(folder, out), handlersDir: join(folder, "handlers") });

function contents(dir: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(dir.length), readFileSync(path).toString("base64")]),
  );
}

test("a bundle runs alone, without node_modules, and answers with the addon", async () => {
  const elsewhere = mkdtempSync(join(tmpdir(), "siltstone-bundle-"));
  try {
    await bundleLambdas({ architecture: "host", outDir: elsewhere, handlersDir: join(folder, "handlers") });
    const program = `
      const { handler } = require(${JSON.stringify(join(elsewhere, "query/handler.js"))});
      handler([3, 4]).then((answer) => console.log(JSON.stringify(answer)));`;
    const output = execFileSync(process.execPath, ["-e", program], { cwd: elsewhere, encoding: "utf8" });
    expect(JSON.parse(output)).toEqual([25, 2]);
    const thread = new SegmentThread(join(elsewhere, "query/segment-thread.js"));
    expect(await thread.hash("none", largeBytes).digest()).toBe(createHash("sha256").digest("hex"));
    await thread.close();
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
});

test("each folder holds what its handler needs and no more", async () => {
  const bundles = await bundleInto("out", "x64");
  expect(bundles.map(({ name }) => name)).toEqual(functionNames);
  expect(readdirSync(join(folder, "out/producer"))).not.toContain("addon.node");
  for (const name of ["compactor", "query"]) {
    expect(readdirSync(join(folder, "out", name)).sort()).toEqual(
      expect.arrayContaining(["addon.node", "handler.js", "package.json"]),
    );
  }
  for (const { bytes } of bundles) expect(bytes).toBeLessThan(3_000_000);
});

test("the addon is the architecture's", async () => {
  await bundleInto("x64", "x64");
  await bundleInto("arm64", "arm64");
  expect(inspectAddon(readFileSync(join(folder, "x64/query/addon.node")))?.machine).toBe(62);
  expect(inspectAddon(readFileSync(join(folder, "arm64/query/addon.node")))?.machine).toBe(183);
});

test("the same sources give the same bytes, and nothing of an earlier run stays", async () => {
  await bundleInto("out", "x64");
  const first = contents(join(folder, "out"));
  writeFileSync(join(folder, "out/query/left-over.js"), "");
  await bundleInto("out", "x64");
  expect(contents(join(folder, "out"))).toEqual(first);
  await bundleInto("elsewhere", "x64");
  expect(contents(join(folder, "elsewhere"))).toEqual(first);
});

test("an import that cannot be resolved fails the build", async () => {
  writeFileSync(join(folder, "handlers/query/handler.ts"), `export * from "no-such-package";`);
  await expect(bundleInto("out", "x64")).rejects.toThrow("no-such-package");
});
