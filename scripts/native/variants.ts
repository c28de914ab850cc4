/**
 * The variants of the hnswlib addon: which compiler with which flags makes each, and which one a machine loads.
 *
 * The npm build of hnswlib-node has no -march and so only SSE: AVX2 searches 1.25 times as fast and builds 1.3 times as
 * fast. No variant relaxes the rules of floating point: the kernels of native/distance.h are vectors as they are written, and
 * equal vectors must have equal distances wherever they are compared.
 */
import { readFileSync } from "node:fs";

export interface Variant {
  readonly name: string;
  readonly compiler: string;
  readonly strip: string;
  /** Flags of this variant alone; the common ones are in build.ts. */
  readonly flags: readonly string[];
  /** ELF e_machine of the result; null where the platform does not use ELF. */
  readonly machine: number | null;
}

/** ELF e_machine numbers. */
export const machineX64 = 62;
export const machineArm64 = 183;

/** The committed variants: what Lambda runs, and what a Linux machine without a compiler needs. */
export const linuxVariants: readonly Variant[] = [
  {
    name: "linux-x64-v3",
    compiler: "x86_64-linux-gnu-g++",
    strip: "x86_64-linux-gnu-strip",
    flags: ["-march=x86-64-v3"],
    machine: machineX64,
  },
  {
    name: "linux-x64",
    compiler: "x86_64-linux-gnu-g++",
    strip: "x86_64-linux-gnu-strip",
    flags: ["-march=x86-64"],
    machine: machineX64,
  },
  {
    name: "linux-arm64",
    compiler: "aarch64-linux-gnu-g++",
    strip: "aarch64-linux-gnu-strip",
    // neoverse-n1 is Graviton2, the oldest processor that Lambda's arm64 runs on.
    flags: ["-mcpu=neoverse-n1"],
    machine: machineArm64,
  },
];

/** A variant for a machine that is not Linux: its own compiler, never committed. */
export function ownVariant(platform: string, arch: string): Variant {
  const flags = arch === "x64" ? ["-march=x86-64-v2"] : [];
  return { name: `${platform}-${arch}`, compiler: "c++", strip: "strip", flags, machine: null };
}

/** Name of the variant that this machine loads; native/load.cjs chooses in the same way. */
export function hostVariantName(): string {
  const { platform, arch } = process;
  if (platform !== "linux" || arch !== "x64") return `${platform}-${arch}`;
  return /\bavx2\b/.test(readFileSync("/proc/cpuinfo", "latin1")) ? "linux-x64-v3" : "linux-x64";
}
