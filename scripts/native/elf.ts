/**
 * The gate that an addon passes before it is committed or bundled: is it a shared object for the right processor, and
 * does Lambda's Amazon Linux 2023 have every library version that it asks for? Without it the mistake shows up as an
 * init error of the deployed function.
 *
 * It reads the ELF header and the version names in the string table; objdump need not be installed.
 */

/** The newest symbol versions in Amazon Linux 2023 (glibc 2.34, libstdc++ of GCC 11). */
export const lambdaLimits = { GLIBC: "2.34", GLIBCXX: "3.4.29", CXXABI: "1.3.13" } as const;
type Family = keyof typeof lambdaLimits;

export interface Addon {
  readonly machine: number;
  /** The highest version asked for, by family. */
  readonly highest: Readonly<Partial<Record<Family, string>>>;
}

const elfMagic = 0x7f454c46;
const class64 = 2;
const littleEndian = 1;
const sharedObject = 3;

/** What an ELF file is for and what it needs; null when it is not a 64-bit little-endian shared object. */
export function inspectAddon(bytes: Buffer): Addon | null {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== elfMagic) return null;
  if (bytes[4] !== class64 || bytes[5] !== littleEndian || bytes.readUInt16LE(16) !== sharedObject)
    return null;
  const highest: Partial<Record<Family, string>> = {};
  // Version names stand NUL-delimited in .dynstr; the look-ahead leaves the NUL to the next name.
  for (const match of bytes.toString("latin1").matchAll(/\0(GLIBC|GLIBCXX|CXXABI)_(\d+(?:\.\d+)*)(?=\0)/g)) {
    const family = match[1] as Family;
    const version = match[2]!;
    const known = highest[family];
    if (known === undefined || compareVersions(version, known) > 0) highest[family] = version;
  }
  return { machine: bytes.readUInt16LE(18), highest };
}

/** Everything that keeps the addon from loading in Lambda on a processor of this e_machine; empty when it will load. */
export function addonProblems(bytes: Buffer, machine: number): string[] {
  const addon = inspectAddon(bytes);
  if (addon === null) return ["it is not a 64-bit little-endian ELF shared object"];
  const problems: string[] = [];
  if (addon.machine !== machine) {
    problems.push(`its e_machine is ${addon.machine}, wanted ${machine} (62 is x86-64, 183 is arm64)`);
  }
  if (addon.highest.GLIBC === undefined) problems.push("it names no GLIBC version: not built for glibc");
  for (const [family, limit] of Object.entries(lambdaLimits)) {
    const needed = addon.highest[family as Family];
    if (needed !== undefined && compareVersions(needed, limit) > 0) {
      problems.push(`it needs ${family}_${needed}; Lambda's Amazon Linux 2023 ends at ${family}_${limit}`);
    }
  }
  return problems;
}

function compareVersions(a: string, b: string): number {
  const left = a.split(".").map(Number);
  const right = b.split(".").map(Number);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
