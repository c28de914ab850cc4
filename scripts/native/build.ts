/**
 * `npm run native [VARIANT…]`: builds the hnswlib addon straight with the compiler, without node-gyp.
 *
 * 1. Compile native/graph.cc, which includes hnswlib-node's one source file, against node-addon-api and node-api-headers (Node-API: one addon loads in
 *    every Node from 20 on), strip it.
 * 2. Linux variants go through the gate (elf.ts): right processor, no symbol version that Lambda lacks.
 * 3. Write native/<variant>/addon.node and, for the committed Linux variants, native/addons.json.
 *
 * Without arguments it builds what this machine's compilers can: on Linux the committed variants, elsewhere the
 * machine's own. An x64 Debian 12 with g++ and g++-aarch64-linux-gnu makes the committed ones; a newer distribution's
 * libstdc++ would be refused by the gate.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { addonProblems } from "./elf.ts";
import { linuxVariants, ownVariant, type Variant } from "./variants.ts";

const root = join(import.meta.dirname, "../..");
const nativeFolder = join(root, "native");
const registerFile = join(nativeFolder, "addons.json");
const sourceFile = join(nativeFolder, "graph.cc");

const commonFlags = [
  "-std=c++17",
  "-O3",
  "-DNDEBUG",
  "-DNAPI_DISABLE_CPP_EXCEPTIONS",
  "-DNODE_GYP_MODULE_NAME=addon",
  "-fPIC",
  "-fvisibility=hidden",
  "-pthread",
];

/** How a committed addon was made. */
export interface AddonRecord {
  readonly sha256: string;
  readonly bytes: number;
  readonly compiler: string;
  readonly hnswlibNode: string;
  /** Joined by spaces. */
  readonly flags: string;
}
export type AddonRegister = Readonly<Record<string, AddonRecord>>;

export const readRegister = (): AddonRegister =>
  existsSync(registerFile) ? (JSON.parse(readFileSync(registerFile, "utf8")) as AddonRegister) : {};

export const addonPath = (variant: string): string => join(nativeFolder, variant, "addon.node");

/** Builds one variant and returns its record. Throws when the compiler or the gate refuses it. */
function build(variant: Variant): AddonRecord {
  const require = createRequire(import.meta.url);
  const packageFolder = (name: string) => dirname(require.resolve(`${name}/package.json`));
  const hnswlibNode = packageFolder("hnswlib-node");
  const flags = [...commonFlags, ...variant.flags, ...linkFlags(variant)];
  mkdirSync(nativeFolder, { recursive: true });
  const folder = mkdtempSync(join(nativeFolder, ".build-"));
  try {
    const output = join(folder, "addon.node");
    execFileSync(
      variant.compiler,
      [
        ...flags,
        // The same bytes from every checkout.
        `-ffile-prefix-map=${root}=.`,
        "-isystem",
        join(packageFolder("node-api-headers"), "include"),
        "-isystem",
        packageFolder("node-addon-api"),
        "-isystem",
        join(hnswlibNode, "src"),
        sourceFile,
        "-o",
        output,
      ],
      { stdio: ["ignore", "inherit", "inherit"] },
    );
    execFileSync(variant.strip, [variant.machine === null ? "-x" : "--strip-unneeded", output]);
    const bytes = readFileSync(output);
    const problems = variant.machine === null ? [] : addonProblems(bytes, variant.machine);
    if (problems.length > 0) throw new Error(`${variant.name}: the addon is refused: ${problems.join("; ")}`);
    mkdirSync(dirname(addonPath(variant.name)), { recursive: true });
    // Renamed into place: a process that has the old file open keeps it.
    renameSync(output, addonPath(variant.name));
    const { version } = JSON.parse(readFileSync(join(hnswlibNode, "package.json"), "utf8")) as {
      version: string;
    };
    return {
      sha256: createHash("sha256").update(bytes).digest("hex"),
      bytes: bytes.length,
      compiler: execFileSync(variant.compiler, ["--version"], { encoding: "utf8" }).split("\n")[0]!,
      hnswlibNode: version,
      flags: flags.join(" "),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Node's own symbols (napi_…) stay undefined until Node loads the addon. */
function linkFlags(variant: Variant): string[] {
  if (variant.machine === null) return ["-bundle", "-undefined", "dynamic_lookup"];
  return ["-shared", "-Wl,--build-id=none", "-Wl,-z,relro,-z,now"];
}

function main(names: readonly string[]): void {
  const buildable =
    process.platform === "linux" ? linuxVariants : [ownVariant(process.platform, process.arch)];
  const unknown = names.filter((name) => !buildable.some((variant) => variant.name === name));
  if (unknown.length > 0) {
    throw new Error(
      `unknown variant ${unknown.join(", ")}; this machine builds ${buildable.map((v) => v.name).join(", ")}`,
    );
  }
  const register: Record<string, AddonRecord> = { ...readRegister() };
  for (const variant of buildable.filter((v) => names.length === 0 || names.includes(v.name))) {
    const startedMs = Date.now();
    console.log(`${variant.name}: compiling with ${variant.compiler}…`);
    const record = build(variant);
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(1);
    console.log(`${variant.name}: ${record.bytes} bytes in ${seconds} s, sha256 ${record.sha256}`);
    if (variant.machine !== null) register[variant.name] = record;
  }
  if (process.platform === "linux") writeFileSync(registerFile, `${JSON.stringify(register, null, 2)}\n`);
}

if (import.meta.main) main(process.argv.slice(2));
