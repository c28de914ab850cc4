/** Imports go one way (docs/adr/0001-layers.md): what each folder may import is listed here, and nothing else. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const root = join(import.meta.dirname, "..");

/** What a file of a folder may import of the project (files, or folders with all below them), and which packages. */
interface Rule {
  readonly folder: string;
  readonly project: readonly string[];
  readonly packages: RegExp;
}
const none = /^$/;
const core = ["lib/core/model", "lib/core/format", "lib/core/policy"];
const ports = ["lib/engine/ports.ts", "lib/engine/traffic.ts", "lib/engine/faults.ts"];
const shard = ["lib/contract", ...core, "lib/segment", ...ports, "lib/engine/shard"];
const catalog = [...shard, "lib/engine/catalog"];
const engine = ["lib/contract", ...core, "lib/engine"];
const noCdk = /^(?!aws-cdk-lib|constructs|#hnswlib|hnswlib-node)/;

/** Of two rules that fit a file the more exact one holds. */
const rules: readonly Rule[] = [
  { folder: "lib/contract", project: ["lib/contract"], packages: none },
  { folder: "lib/core/model", project: ["lib/core/model"], packages: /^(node:crypto|ulid|uuid)$/ },
  {
    folder: "lib/core/format",
    project: ["lib/core/model", "lib/core/format"],
    packages: /^(node:(buffer|crypto|os)|apache-arrow(\/fb\/.*)?|flatbuffers)$/,
  },
  { folder: "lib/core/policy", project: core, packages: /^node:os$/ },
  // What a deployment costs follows from what it is deployed with.
  { folder: "lib/core/policy/cost", project: ["lib/contract/settings.ts", ...core], packages: none },
  { folder: "lib/segment", project: [...core, "lib/segment"], packages: /^(node:.*|#hnswlib|hnswlib-node)$/ },
  { folder: "lib/engine", project: ["lib/core/model"], packages: none },
  { folder: "lib/engine/shard", project: shard, packages: /^(node:.*|p-limit)$/ },
  { folder: "lib/engine/catalog", project: catalog, packages: /^(node:.*|p-limit)$/ },
  { folder: "lib/engine/write", project: [...catalog, "lib/engine/write"], packages: /^(node:.*|p-limit)$/ },
  {
    folder: "lib/engine/compact",
    project: [...catalog, "lib/engine/compact"],
    packages: /^(node:.*|p-limit)$/,
  },
  { folder: "lib/engine/read", project: [...catalog, "lib/engine/read"], packages: /^(node:.*|p-limit)$/ },
  {
    folder: "lib/engine/operate",
    project: [...catalog, "lib/engine/operate"],
    packages: /^(node:.*|p-limit)$/,
  },
  {
    folder: "lib/embedding",
    project: ["lib/contract", ...core, "lib/embedding"],
    packages: /^(node:crypto|p-limit)$/,
  },
  {
    folder: "lib/import",
    project: [...core, "lib/embedding", ...ports, "lib/engine/write", "lib/import"],
    packages: /^(node:.*|apache-arrow(\/fb\/.*)?|flatbuffers|hyparquet.*|pg)$/,
  },
  {
    folder: "lib/jobs",
    project: [
      ...core,
      "lib/embedding",
      ...ports,
      "lib/engine/shard/head.ts",
      "lib/engine/shard/put-new.ts",
      "lib/contract",
      "lib/engine/write",
      "lib/jobs",
    ],
    packages: /^p-limit$/,
  },
  {
    folder: "lib/aws",
    project: [...engine, "lib/embedding", "lib/jobs", "lib/aws"],
    packages: noCdk,
  },
  {
    folder: "lib/clients",
    project: [...engine, "lib/embedding", "lib/jobs", "lib/aws", "lib/clients"],
    packages: /^node:(http|net)$/,
  },
  {
    folder: "lib/constructs",
    project: [
      "lib/contract",
      "lib/core/model/collection.ts",
      "lib/core/model/embedding-profile.ts",
      "lib/core/policy/time-bounds.ts",
      "lib/embedding/provider-access.ts",
      "lib/constructs",
    ],
    packages: /^(node:.*|aws-cdk-lib.*|constructs)$/,
  },
  {
    folder: "lambdas",
    // A thread's script is a file of its own in the bundle.
    project: [
      ...engine,
      "lib/embedding",
      "lib/jobs",
      "lib/aws",
      "lambdas",
      "lib/import/take-over.ts",
      "lib/segment/segment-thread-main.ts",
    ],
    packages: /^(?!@aws-sdk|aws-cdk-lib|constructs|#hnswlib|hnswlib-node)/,
  },
  {
    folder: "bin",
    project: ["scripts/build", "bin"],
    packages: /^(node:.*|aws-cdk-lib.*|constructs|cdk-nag)$/,
  },
  {
    folder: "scripts/build",
    project: ["lib/contract", "lib/constructs", "scripts/build", "scripts/native"],
    packages: /^(node:.*|esbuild|aws-cdk-lib.*)$/,
  },
  {
    folder: "scripts/local",
    project: ["scripts/local"],
    packages: /^(node:.*|fauxqs|dynalite|@dynoxide\/.*|zod\/mini|@aws-sdk\/client-(s3|sqs|dynamodb))$/,
  },
  {
    folder: "scripts/cli",
    project: [
      "lib/contract",
      ...core,
      "lib/engine",
      "lib/embedding",
      "lib/import",
      "lib/jobs",
      "lib/aws",
      "lib/clients",
      "scripts/cli",
      "scripts/end-with-parent.ts",
      "package.json",
      // Its own build, in the package.
      "dist/silt.cjs",
    ],
    packages: /^(node:.*|commander|cli-table3|cli-progress|p-limit)$/,
  },
  {
    folder: "scripts/start",
    project: ["lib", "scripts/build", "scripts/local", "scripts/end-with-parent.ts", "scripts/start"],
    packages: /^(node:.*|@aws-sdk\/client-lambda)$/,
  },
  {
    folder: "scripts/drill",
    project: ["lib", "scripts/build", "scripts/local", "scripts/drill"],
    packages: /^(node:.*|@aws-sdk\/client-lambda)$/,
  },
  {
    folder: "scripts/bench",
    // Worlds in memory, and the real embeddings.
    project: [
      "lib",
      "scripts/build",
      "scripts/local",
      "scripts/cli/program.ts",
      "scripts/bench",
      "test/support",
    ],
    // Bare hnswlib is what is measured beside.
    packages: /^(node:.*|p-limit|cli-table3|#hnswlib|hnswlib-node|@aws-sdk\/client-(s3|lambda))$/,
  },
  {
    folder: "scripts/bench/peers",
    project: ["lib", "scripts/bench", "test/support"],
    packages: /^(?!aws-cdk-lib|constructs|@aws-sdk)/,
  },
  { folder: "scripts/native", project: ["scripts/native"], packages: /^node:/ },
  { folder: "scripts/forge.ts", project: ["test/corruption"], packages: /^node:/ },
  { folder: "scripts/end-with-parent.ts", project: [], packages: /^node:/ },
];

const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);
const ruleOf = (file: string): Rule | undefined =>
  rules.filter(({ folder }) => isBelow(file, folder)).sort((a, b) => b.folder.length - a.folder.length)[0];

const sources = ["bin", "lib", "lambdas", "scripts"].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => /\.[cm]?[jt]s$/.test(file) && !file.endsWith(".d.ts") && !file.includes("node_modules"))
    .map((file) => join(folder, file)),
);

function importsOf(file: string): string[] {
  const source = readFileSync(join(root, file), "utf8");
  return [
    ...source.matchAll(
      /^(?:import|export)\b[^;]*?from "([^"]+)"|\bimport\(\s*"([^"]+)"|^import "([^"]+)"|\b(?:require(?:\.resolve)?|createRequire\([^)]*\))\(\s*"([^"]+)"/gm,
    ),
  ].map((match) => match.slice(1).find((part) => part !== undefined)!);
}

test("every source is below a rule, and every rule's folder exists", () => {
  expect(sources.filter((file) => ruleOf(file) === undefined)).toEqual([]);
  expect(rules.filter(({ folder }) => !existsSync(join(root, folder))).map(({ folder }) => folder)).toEqual(
    [],
  );
});

test.each(rules)("$folder imports only what lies below it", (rule) => {
  const wrong = sources
    .filter((file) => ruleOf(file) === rule)
    .flatMap((file) =>
      importsOf(file).flatMap((target) => {
        if (!target.startsWith(".")) return rule.packages.test(target) ? [] : [`${file} imports ${target}`];
        const path = relative(root, join(root, dirname(file), target));
        return rule.project.some((allowed) => isBelow(path, allowed)) ? [] : [`${file} imports ${path}`];
      }),
    );
  expect(wrong).toEqual([]);
});

test("no function imports another", () => {
  const functionOf = (path: string) => /^lambdas\/([^/]+)\//.exec(path)?.[1];
  const wrong = sources.filter((file) =>
    importsOf(file).some((target) => {
      const other = functionOf(relative(root, join(root, dirname(file), target)));
      return target.startsWith(".") && other !== undefined && other !== functionOf(file);
    }),
  );
  expect(wrong).toEqual([]);
});

test("S3 clients are made in one place, which keeps them from correcting their clock", () => {
  const wrong = sources
    .filter((file) => ["lib", "lambdas", "scripts/cli"].some((folder) => isBelow(file, folder)))
    .filter((file) => file !== "lib/aws/s3-client.ts")
    .filter((file) => /\bnew S3Client\(|\bnew S3\(/.test(readFileSync(join(root, file), "utf8")));
  expect(wrong).toEqual([]);
});

test("the engine, jobs and the core read no clock and no randomness of their own", () => {
  const banned =
    /\bDate\.now\(|\bnew Date\(\)|Math\.random\(|randomUUID|randomBytes|\bsetTimeout\(|\bsetInterval\(/;
  const wrong = sources
    .filter((file) =>
      ["lib/core", "lib/engine", "lib/jobs", "lib/segment"].some((folder) => isBelow(file, folder)),
    )
    .filter((file) => banned.test(readFileSync(join(root, file), "utf8")));
  expect(wrong).toEqual([]);
});
