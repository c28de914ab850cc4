/** Imports go one way (docs/adr/0001-layers.md): what each folder may import is listed here, and nothing else. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const root = join(import.meta.dirname, "..");

/** Folders, longest first where one is inside another: what a file may import of the project, and which packages. */
const rules: readonly { folder: string; project: readonly string[]; packages: RegExp }[] = [
  { folder: "lib/contract.ts", project: [], packages: /^$/ },
  {
    folder: "lib/core",
    project: ["lib/core"],
    packages: /^(node:(buffer|crypto|os)|apache-arrow(\/fb\/.*)?|flatbuffers|ulid|uuid)$/,
  },
  {
    folder: "lib/segment",
    project: ["lib/core", "lib/segment"],
    packages: /^(node:.*|#hnswlib|hnswlib-node)$/,
  },
  {
    folder: "lib/engine",
    project: ["lib/contract.ts", "lib/core", "lib/segment", "lib/engine"],
    packages: /^(node:.*|p-limit)$/,
  },
  {
    folder: "lib/aws",
    project: ["lib/contract.ts", "lib/core", "lib/engine", "lib/aws"],
    packages: /^(?!aws-cdk-lib|constructs|#hnswlib|hnswlib-node)/,
  },
  {
    folder: "lib/constructs",
    project: ["lib/contract.ts", "lib/core/collection.ts", "lib/core/time-bounds.ts", "lib/constructs"],
    packages: /^(node:.*|aws-cdk-lib.*|constructs)$/,
  },
  {
    folder: "lambdas",
    project: ["lib/contract.ts", "lib/core", "lib/engine", "lib/aws", "lambdas"],
    packages: /^(?!@aws-sdk|aws-cdk-lib|#hnswlib|hnswlib-node)/,
  },
  {
    folder: "scripts/local",
    project: ["scripts/local"],
    packages: /^(?!aws-cdk-lib|constructs|#hnswlib|hnswlib-node)/,
  },
];

const sourcesIn = (folder: string): string[] =>
  folder.endsWith(".ts")
    ? [folder]
    : readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((file) => /\.(ts|cts|cjs|mjs)$/.test(file) && !file.endsWith(".d.ts"))
        .map((file) => join(folder, file));

function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [
    ...source.matchAll(/^(?:import|export)\b[^;]*?from "([^"]+)"|\bimport\("([^"]+)"\)|^import "([^"]+)"/gm),
  ].map(([, from, dynamic, bare]) => (from ?? dynamic ?? bare)!);
}

test.each(rules)("$folder imports only what lies below it", ({ folder, project, packages }) => {
  const files = sourcesIn(folder);
  expect(files.length).toBeGreaterThan(0);
  const wrong = files.flatMap((file) =>
    importsOf(file).flatMap((target) => {
      if (!target.startsWith(".")) return packages.test(target) ? [] : [`${file} imports ${target}`];
      const path = relative(root, join(root, dirname(file), target));
      return project.some((allowed) => path === allowed || path.startsWith(`${allowed}/`))
        ? []
        : [`${file} imports ${path}`];
    }),
  );
  expect(wrong).toEqual([]);
});

test("S3 clients are made in one place, which keeps them from correcting their clock", () => {
  const wrong = ["lib", "lambdas", "scripts/cli"]
    .flatMap(sourcesIn)
    .filter((file) => file !== "lib/aws/s3-client.ts")
    .filter((file) => /\bnew S3Client\(|\bnew S3\(/.test(readFileSync(join(root, file), "utf8")));
  expect(wrong).toEqual([]);
});

test("the engine and the core read no clock and no randomness of their own", () => {
  const banned =
    /\bDate\.now\(|\bnew Date\(\)|Math\.random\(|randomUUID|randomBytes|\bsetTimeout\(|\bsetInterval\(/;
  const wrong = ["lib/core", "lib/engine", "lib/segment"]
    .flatMap(sourcesIn)
    .filter((file) => banned.test(readFileSync(join(root, file), "utf8")));
  expect(wrong).toEqual([]);
});
