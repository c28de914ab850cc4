/**
 * `npm run bundle [-- --architecture x64|arm64|host]`: lambdas/<name>/handler.ts, and the script of its thread
 * beside it, with everything they import become build/lambdas/<architecture>/<name>/, the folder that is deployed and that the local AWS stack runs.
 *
 * - handler.js is CommonJS: an ES module cannot load a copied addon. A package.json beside it says so, since the
 *   folder may lie below one that says otherwise.
 * - The AWS SDK is bundled as well: the runtime's own changes under a deployed function.
 * - `#hnswlib` becomes the prebuilt addon of the architecture, once it has passed the gate (scripts/native/elf.ts).
 * - The same sources give the same bytes, so that a deployment without a change uploads nothing.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { type FunctionName, functionNames } from "../../lib/contract/functions.ts";
import { addonPath } from "../native/build.ts";
import { addonProblems } from "../native/elf.ts";
import { hostVariantName, linuxVariants } from "../native/variants.ts";

const root = join(import.meta.dirname, "../..");

/** `host` is this machine's: on x64 with AVX2 the same bytes as `x64`. */
export const architectures = ["x64", "arm64", "host"] as const;
export type Architecture = (typeof architectures)[number];

/** What a handler's folder may hold: itself, and the script of a thread that it starts. */
const scripts = ["handler", "segment-thread"] as const;

/** Where the project's own bundles of an architecture go. */
export const bundleFolder = (architecture: Architecture): string => join(root, "build/lambdas", architecture);

export interface BundleOptions {
  readonly architecture: Architecture;
  /** Gets one folder per handler; files of an earlier run that are no longer made are removed. */
  readonly outDir: string;
  /** Holds <name>/handler.ts. @default the project's lambdas/ */
  readonly handlersDir?: string;
}

export interface Bundle {
  readonly name: FunctionName;
  readonly folder: string;
  readonly bytes: number;
  /** Paths of all files that went into it and of those that it is, from the project's root. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** Bundles every handler. Throws when an import cannot be resolved or when the addon would not load. */
export async function bundleLambdas(options: BundleOptions): Promise<Bundle[]> {
  const addon = gatedAddon(options.architecture);
  const handlersDir = options.handlersDir ?? join(root, "lambdas");
  return Promise.all(
    functionNames.map(async (name) => {
      const folder = join(options.outDir, name);
      const own = scripts.map((script) => join(handlersDir, name, `${script}.ts`));
      return { name, folder, ...(await bundle(own.filter(existsSync), folder, addon)) };
    }),
  );
}

/** Path of the architecture's addon. Throws unless it is there and will load. */
function gatedAddon(architecture: Architecture): string {
  const variant = { x64: "linux-x64-v3", arm64: "linux-arm64", host: hostVariantName() }[architecture];
  const path = addonPath(variant);
  if (!existsSync(path)) {
    throw new Error(`no addon for ${variant}: run \`npm run native\` (needs a C++ compiler)`);
  }
  const machine = linuxVariants.find(({ name }) => name === variant)?.machine ?? null;
  const problems = machine === null ? [] : addonProblems(readFileSync(path), machine);
  if (problems.length > 0) throw new Error(`${path} is refused: ${problems.join("; ")}`);
  return path;
}

async function bundle(
  entryPoints: readonly string[],
  folder: string,
  addon: string,
): Promise<Omit<Bundle, "name" | "folder">> {
  const { outputFiles, warnings, metafile } = await build({
    entryPoints: [...entryPoints],
    outdir: folder,
    absWorkingDir: root,
    bundle: true,
    write: false,
    platform: "node",
    target: "node24",
    format: "cjs",
    minify: true,
    // The error classes of libraries are told apart by name in logs.
    keepNames: true,
    // ES module builds of the SDK and of Arrow can be shaken; their CommonJS ones cannot.
    mainFields: ["module", "main"],
    alias: { "#hnswlib": addon },
    loader: { ".node": "copy" },
    assetNames: "[name]",
    define: { "import.meta.dirname": "__dirname", "import.meta.filename": "__filename" },
    // Licence texts of what is bundled, in handler.js.LEGAL.txt.
    legalComments: "external",
    metafile: true,
    logLevel: "silent",
  });
  // For instance an empty import.meta: it would fail at run time.
  if (warnings.length > 0)
    throw new Error(`${entryPoints[0]}: ${warnings.map(({ text }) => text).join("; ")}`);
  const files = new Map(outputFiles.map((file) => [file.path.slice(folder.length + 1), file.contents]));
  files.set("package.json", Buffer.from('{"type":"commonjs"}\n'));
  writeFolder(folder, files);
  const bytes = [...files.values()].reduce((sum, contents) => sum + contents.length, 0);
  const outputs = [...files.keys()].map((name) => relative(root, join(folder, name)));
  return { bytes, inputs: Object.keys(metafile.inputs), outputs };
}

/**
 * Makes the folder hold exactly these files. Each is renamed into place, and one that is right already stays untouched:
 * another process may be copying or running it.
 */
function writeFolder(folder: string, files: ReadonlyMap<string, Uint8Array>): void {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) {
    if (!files.has(name)) rmSync(join(folder, name), { recursive: true, force: true });
  }
  for (const [name, contents] of files) {
    const path = join(folder, name);
    if (existsSync(path) && readFileSync(path).equals(contents)) continue;
    const unfinished = `${folder}.${process.pid}.${name}`;
    writeFileSync(unfinished, contents);
    renameSync(unfinished, path);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { architecture: { type: "string", default: "x64" } } });
  const architecture = architectures.find((known) => known === values.architecture);
  if (architecture === undefined) {
    throw new Error(`--architecture is one of ${architectures.join(", ")}, got ${values.architecture}`);
  }
  const bundles = await bundleLambdas({ architecture, outDir: bundleFolder(architecture) });
  for (const { name, bytes } of bundles)
    console.log(`${name.padEnd(10)} ${(bytes / 1024).toFixed(0).padStart(6)} KB`);
}

if (import.meta.main) void main();
