/**
 * `npm run build`: makes dist/, what the published package consists of beside the addons.
 *
 * - dist/lib: the library and the constructs as JavaScript with declarations (Node strips no types below node_modules).
 * - dist/lambdas/<x86_64|arm64>: the bundled handlers that the constructs deploy, so that a user's CDK app needs neither
 *   a bundler nor a compiler. The folder names are the CDK's names of the architectures.
 */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { bundleLambdas } from "./bundle.ts";

const root = join(import.meta.dirname, "../..");
const dist = join(root, "dist");

async function main(): Promise<void> {
  rmSync(dist, { recursive: true, force: true });
  const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
  execFileSync(process.execPath, [join(typescript, "bin/tsc"), "-p", join(root, "tsconfig.build.json")], {
    stdio: "inherit",
  });
  await bundleLambdas({ architecture: "x64", outDir: join(dist, "lambdas/x86_64") });
  await bundleLambdas({ architecture: "arm64", outDir: join(dist, "lambdas/arm64") });
  console.log("dist/ is built");
}

if (import.meta.main) void main();
