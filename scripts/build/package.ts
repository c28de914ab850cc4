/**
 * `npm run build`, and before `npm pack`: makes dist/, what the package consists of beside the addons.
 *
 * - dist/esm and dist/cjs: each entry of the package's exports as one file, for `import` and for `require`, with its declarations.
 *   Everything is in them but the AWS SDK and the CDK, which are the user's too.
 * - dist/silt.cjs: the command line, likewise.
 * - dist/lambdas/<x86_64|arm64>: the bundled handlers that the constructs deploy, so that a user's CDK app needs neither
 *   a bundler nor a compiler. The folder names are the CDK's names of the architectures.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type BuildOptions, build, type Format } from "esbuild";
import { bundleLambdas } from "./bundle.ts";

const root = join(import.meta.dirname, "../..");
const dist = join(root, "dist");

/** Entry points by the names of the package's exports. */
export const entries = {
  constructs: "lib/constructs/index.ts",
  produce: "lib/clients/producer.ts",
  jobs: "lib/clients/jobs.ts",
  "fake-provider": "lib/clients/fake-provider.ts",
} as const;
const commandLine = { silt: "scripts/cli/main.ts" } as const;

async function main(): Promise<void> {
  rmSync(dist, { recursive: true, force: true });
  // What users' Nodes lack is an error here (tsconfig.build.json).
  const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
  execFileSync(process.execPath, [join(typescript, "bin/tsc"), "-p", join(root, "tsconfig.build.json")], {
    stdio: "inherit",
  });
  const types = declarationsOf(join(dist, "types"), Object.values(entries));
  rmSync(join(dist, "types"), { recursive: true });
  for (const folder of ["esm", "cjs"]) write(join(dist, folder, "types"), types);
  // The package's own type is module.
  write(join(dist, "cjs"), new Map([["package.json", '{"type":"commonjs"}\n']]));
  await bundle(entries, "esm", { outdir: join(dist, "esm"), target: "node20" });
  await bundle(entries, "cjs", { outdir: join(dist, "cjs"), target: "node20" });
  // Not in dist/cjs, which is a package scope of its own: `#hnswlib` is this package's.
  const outExtension = { ".js": ".cjs" };
  await bundle(commandLine, "cjs", { outdir: dist, outExtension, target: "node24" });
  await bundleLambdas({ architecture: "x64", outDir: join(dist, "lambdas/x86_64") });
  await bundleLambdas({ architecture: "arm64", outDir: join(dist, "lambdas/arm64") });
  console.log("dist/ is built");
}

async function bundle(
  files: Readonly<Record<string, string>>,
  format: Format,
  options: BuildOptions,
): Promise<void> {
  const { warnings } = await build({
    entryPoints: { ...files },
    ...options,
    absWorkingDir: root,
    bundle: true,
    platform: "node",
    format,
    mainFields: ["module", "main"],
    external: ["@aws-sdk/*", "aws-cdk-lib", "constructs", "#hnswlib"],
    ...(format === "cjs" ? { define: { "import.meta.dirname": "__dirname" } } : {}),
    // Licence texts of what is bundled.
    legalComments: "external",
    logLevel: "silent",
  });
  if (warnings.length > 0) throw new Error(warnings.map(({ text }) => text).join("; "));
}

/** The declarations that the entries reach, by path below lib, with the imports that a declaration must have: of .js. */
function declarationsOf(folder: string, sources: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  const add = (path: string): void => {
    if (found.has(path)) return;
    const text = readFileSync(join(folder, path), "utf8");
    found.set(path, text.replaceAll(/(\bfrom "|\bimport\(")(\.[^"]+)\.ts"/g, '$1$2.js"'));
    for (const [, target] of text.matchAll(/\b(?:from |import\()"(\.[^"]+)\.ts"/g))
      add(join(dirname(path), `${target}.d.ts`));
  };
  for (const source of sources) add(source.replace(/^lib\//, "").replace(/\.ts$/, ".d.ts"));
  return found;
}

function write(folder: string, files: ReadonlyMap<string, string>): void {
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

if (import.meta.main) void main();
